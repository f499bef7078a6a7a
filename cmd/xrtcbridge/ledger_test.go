package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// The help has each count of the ledger, on the side of the equation that it is on.
func TestLedgerIsExplained(t *testing.T) {
	_, equation, _ := strings.Cut(ledgerHelp(), "\n")
	equation, rest, _ := strings.Cut(equation, "\n")
	in, out, _ := strings.Cut(equation, " = ")
	all := columns(true)
	if n := reflect.TypeFor[engine.Ledger]().NumField(); len(all) != n {
		t.Errorf("%d columns, and %d counts", len(all), n)
	}
	has := func(side, title string) bool { return strings.Contains(" "+side+" ", " "+title+" ") }
	for _, c := range all {
		var l engine.Ledger
		for _, f := range reflect.ValueOf(&l).Elem().Fields() {
			if f.SetUint(1); c.count(l) == 1 {
				break
			}
			f.SetUint(0)
		}
		// With one message that is counted so, and one that is delivered, it balances as the help says.
		comes := l
		comes.Delivered++
		if got := comes.Balanced(); got != has(in, c.title) || got == has(out, c.title) {
			t.Errorf("%s is on the wrong side of %s", c.title, equation)
		}
		if !strings.Contains(rest, "\n  "+c.title+" ") || c.means == "" {
			t.Errorf("%s is not explained", c.title)
		}
	}
}
