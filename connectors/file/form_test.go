package file_test

import (
	"path/filepath"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// TestLineFeedsMakeNoMessages: five messages are five lines, or refused.
func TestLineFeedsMakeNoMessages(t *testing.T) {
	for encode, want := range map[string]string{
		"text": "a\nc\ne\n", "raw": "a\nb\nb\nc\nd\nd\nd\ne\n",
		"json": "\"a\"\n\"b\\nb\"\n\"c\\n\"\n\"d\\nd\\nd\"\n\"e\"\n", "base64": "YQ==\nYgpi\nYwo=\nZApkCmQ=\nZQ==\n",
	} {
		path := filepath.Join(t.TempDir(), "out")
		sink := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Encode = encode })
		r, err := sink.Write(t.Context(), messages("a", "b\nb", "c\n", "d\nd\nd", "e"))
		if err != nil || r.Settled != 5 || contents(t, path) != want {
			t.Errorf("%s: %q, %+v, %v", encode, contents(t, path), r, err)
		}
		if n := len(r.Refused); encode == "text" && (n != 2 || r.Refused[0].Index != 1 || r.Refused[1].Index != 3) ||
			encode != "text" && n > 0 {
			t.Errorf("%s: refused %+v", encode, r.Refused)
		}
	}
}

func TestPayloadTemplateOfTheSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	sink := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Payload = byTopic("topic ") })
	if r, err := sink.Write(t.Context(),
		bridge.Batch{{Topic: "a", Payload: []byte("x\ny")}, {Topic: "b\nb"}}); err != nil ||
		contents(t, path) != "topic a\n" || len(r.Refused) != 1 || r.Refused[0].Index != 1 {
		t.Errorf("%q, %+v, %v", contents(t, path), r, err)
	}
}
