package expr_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// document is a JSON document of 1 KiB, with the field temp in its middle.
func document() []byte {
	var b strings.Builder
	b.WriteString(`{"id":"0123456789","device":{"model":"th-100","firmware":"1.2.3"}`)
	for i := range 14 {
		fmt.Fprintf(&b, `,"reading_%02d":{"value":%d.25,"unit":"C"}`, i, i)
		if i == 7 {
			b.WriteString(`,"temp":21.5,"room":"kitchen"`)
		}
	}
	b.WriteString(`,"note":"` + strings.Repeat("x", 1022-b.Len()-len(`,"note":"`)) + `"}`)
	return []byte(b.String())
}

func BenchmarkConditionOf1KiB(b *testing.B) {
	m := &bridge.Message{Topic: "site/kitchen/temp", Payload: document()}
	cond, err := expr.Condition("json.temp > 20")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Payload)))
	for b.Loop() {
		if _, err := cond.Match(m); err != nil {
			b.Fatal(err)
		}
	}
}
