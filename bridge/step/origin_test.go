package step

import (
	"maps"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestOrigin(t *testing.T) {
	for _, c := range []struct{ passed, want string }{
		{"", "here"},
		{"there", "there,here"},
		{"nowhere,there", "nowhere,there,here"},
		{"here", ""},
		{"there,here", ""},
		{"there, here", ""},
		{strings.Repeat("x,", 31) + "x", ""},
		{strings.Repeat("x,", 30) + "x", strings.Repeat("x,", 31) + "here"},
	} {
		header := map[string]string{"other": "stays"}
		if c.passed != "" {
			header["xrtcbridge-origin"] = c.passed
		}
		before := maps.Clone(header)
		o := &origin{name: "here", header: "xrtcbridge-origin"}
		got, err := o.Process(t.Context(), bridge.Batch{{Header: header}})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(header, before) {
			t.Errorf("%q: the header was changed in place", c.passed)
		}
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%q passed", c.passed)
			}
			continue
		}
		if len(got) != 1 || got[0].Header["xrtcbridge-origin"] != c.want || got[0].Header["other"] != "stays" {
			t.Errorf("%q: got %v, want %q", c.passed, got, c.want)
		}
	}
	if got, _ := (&origin{name: "here", header: "h"}).Process(t.Context(), bridge.Batch{{}}); len(got) != 1 || got[0].Header["h"] != "here" {
		t.Errorf("without headers: %v", got)
	}
}
