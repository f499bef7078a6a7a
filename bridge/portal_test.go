package bridge_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestPortalID(t *testing.T) {
	for text, want := range map[string]string{
		"kitchen":                                "kitchen",
		"7":                                      "7",
		"ABCdef0123456789ABCdef0123456789":       "ABCdef0123456789ABCdef0123456789",
		"sensors/hall/temp":                      "sensorsHallTemp",
		"/a":                                     "a",
		"a/":                                     "a",
		"":                                       "",
		"日本":                                     "",
		"room-7":                                 "room7",
		"building/a/floor/3/room/12/temperature": "Room12Temperature",
		strings.Repeat("x", 33):                  strings.Repeat("x", 20),
	} {
		got := bridge.PortalID(text)
		if !regexp.MustCompile("^[A-Za-z0-9]{1,32}$").MatchString(got) {
			t.Errorf("PortalID(%q) = %q, which is no portal id", text, got)
		}
		if got != bridge.PortalID(text) {
			t.Errorf("PortalID(%q) changes", text)
		}
		if got == want {
			if got != text {
				t.Errorf("PortalID(%q) = %q has no hash", text, got)
			}
			continue
		}
		readable := got[:len(got)-12]
		if got == text || !strings.HasSuffix(readable, want) {
			t.Errorf("PortalID(%q) = %q, want something that begins with %q", text, got, want)
		}
	}
}

// The ids must not change between versions: portals have readers.
func TestPortalIDStays(t *testing.T) {
	for text, want := range map[string]string{
		"sensors/kitchen/temp": "sensorsKitchenTempina1h3pkh7lq",
		"":                     "gt33uehk7gng",
	} {
		if got := bridge.PortalID(text); got != want {
			t.Errorf("PortalID(%q) = %q, and it was %q", text, got, want)
		}
	}
}

func TestPortalIDsDiffer(t *testing.T) {
	seen := make(map[string]string)
	check := func(text string) {
		id := bridge.PortalID(text)
		if other, taken := seen[id]; taken {
			t.Fatalf("%q and %q both are %q", text, other, id)
		}
		seen[id] = text
	}
	for i := range 100_000 {
		check(fmt.Sprintf("sensors/room %d/temp", i))
		check(fmt.Sprintf("sensors/room/%d/temp", i))
		check(fmt.Sprint(i))
	}
	for _, text := range []string{"a/b", "a-b", "ab", "aB", "a_b", "a b", "/a/b", "a/b/", "A/B", "a//b", " a/b"} {
		check(text)
	}
}

func BenchmarkPortalID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		bridge.PortalID("sensors/kitchen/temp")
	}
}
