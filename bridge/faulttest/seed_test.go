package faulttest_test

import (
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// logger is a test whose log can be read.
type logger struct {
	testing.TB
	said []any
}

func (l *logger) Helper()                   {}
func (l *logger) Logf(_ string, a ...any)   { l.said = a }
func (l *logger) Fatalf(_ string, _ ...any) { panic("fatal") }

func TestRandIsRepeatedByItsSeed(t *testing.T) {
	t.Setenv(faulttest.SeedVariable, "18446744073709551615")
	l := &logger{TB: t}
	a, b := faulttest.Rand(l), faulttest.Rand(t)
	if len(l.said) != 2 || l.said[1] != uint64(1<<64-1) {
		t.Errorf("it logged %v", l.said)
	}
	for range 100 {
		if a.Uint64() != b.Uint64() {
			t.Fatal("the same seed gives other numbers")
		}
	}
}

func TestRandDiffersWithoutASeed(t *testing.T) {
	t.Setenv(faulttest.SeedVariable, "")
	if faulttest.Rand(t).Uint64() == faulttest.Rand(t).Uint64() {
		t.Error("two seeds are the same")
	}
}

func TestRandRefusesASeedThatIsNone(t *testing.T) {
	t.Setenv(faulttest.SeedVariable, "today")
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "fatal") {
			t.Error("the seed was taken")
		}
	}()
	faulttest.Rand(&logger{TB: t})
}
