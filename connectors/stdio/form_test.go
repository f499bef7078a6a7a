package stdio_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

// TestLineFeedsMakeNoMessages: five messages are five lines, or refused.
func TestLineFeedsMakeNoMessages(t *testing.T) {
	for encode, want := range map[string]string{
		"text": "a\nc\ne\n", "raw": "a\nb\nb\nc\nd\nd\nd\ne\n",
		"json": "\"a\"\n\"b\\nb\"\n\"c\\n\"\n\"d\\nd\\nd\"\n\"e\"\n", "base64": "YQ==\nYgpi\nYwo=\nZApkCmQ=\nZQ==\n",
	} {
		c, out := stdio.Connector(), new(strings.Builder)
		env := bridgetest.Env(t, "test-to")
		env.Stdout = out
		s := c.Sink.Settings().(*stdio.SinkSettings)
		s.Encode = encode
		sink, err := c.Sink.Open(t.Context(), s, env)
		if err != nil {
			t.Fatal(err)
		}
		r, err := sink.Write(t.Context(), messages("a", "b\nb", "c\n", "d\nd\nd", "e"))
		if err != nil || r.Settled != 5 || cmp.Diff(want, out.String()) != "" {
			t.Errorf("%s: %q, %+v, %v", encode, out, r, err)
		}
		if n := len(r.Refused); encode == "text" && (n != 2 || r.Refused[0].Index != 1 || r.Refused[1].Index != 3) ||
			encode != "text" && n > 0 {
			t.Errorf("%s: refused %+v", encode, r.Refused)
		}
	}
}
