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
		out, err := new(bridge.StepRunner).Process(t.Context(), o, 1, bridge.Batch{{ID: "id", Header: header}}, false)
		if err != nil {
			t.Fatal(err)
		}
		got := out.Messages
		if !maps.Equal(header, before) {
			t.Errorf("%q: the header was changed in place", c.passed)
		}
		if c.want == "" {
			if len(got) != 0 || len(out.Dropped) != 1 {
				t.Errorf("%q passed", c.passed)
			}
			continue
		}
		if len(got) != 1 || got[0].Header["xrtcbridge-origin"] != c.want || got[0].Header["other"] != "stays" ||
			got[0].ID != "id" {
			t.Errorf("%q: got %v, want %q", c.passed, got, c.want)
		}
	}
	out, err := new(bridge.StepRunner).Process(t.Context(), &origin{name: "here", header: "h"}, 1, bridge.Batch{{}}, false)
	if err != nil || len(out.Messages) != 1 || out.Messages[0].Header["h"] != "here" {
		t.Errorf("without headers: %+v, %v", out, err)
	}
}
