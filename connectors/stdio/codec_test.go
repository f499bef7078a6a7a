package stdio_test

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func openCodec(t *testing.T, c bridge.Connector, stdin io.Reader, kind string, most int) bridge.Source {
	t.Helper()
	env := bridgetest.Env(t, "test-from")
	env.Stdin, env.MaxBatch = stdin, most
	settings := c.Source.Settings().(*stdio.SourceSettings)
	settings.Codec.Kind = kind
	s, err := c.Source.Open(t.Context(), settings, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The instance that follows another one knows what the columns are called.
func TestColumnsOutliveAnInstance(t *testing.T) {
	c, stdin := stdio.Connector(), strings.NewReader("a,b\n1,2\n3\n5,6\n")
	s := openCodec(t, c, stdin, "csv", 1)
	batch, ack, err := s.Read(t.Context())
	if err != nil || string(batch[0].Payload) != `{"a":"1","b":"2"}` {
		t.Fatalf("got %v, %v", batch, err)
	}
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openCodec(t, c, stdin, "csv", 100)
	batch, _, err = s.Read(t.Context())
	if refused, ok := err.(bridge.Refusals); !ok || len(refused) != 1 ||
		refused.Error() != "row 2 of stdin: column 2: there are values for 1 of 2 columns" {
		t.Errorf("refused %v", err)
	}
	if len(batch) != 2 || string(batch[1].Payload) != `{"a":"5","b":"6"}` {
		t.Errorf("got %v", batch)
	}
}

func TestCodecsOfStdin(t *testing.T) {
	for kind, want := range map[string][]string{
		"json":  {`{"a":[1,2]}`, `"b"`, `7`},
		"whole": {"{\"a\":[1,2]}\"b\"\n7\r\n"},
	} {
		s := openCodec(t, stdio.Connector(), strings.NewReader("{\"a\":[1,2]}\"b\"\n7\r\n"), kind, 100)
		if got, err := readAll(t, s); err != io.EOF || cmp.Diff(want, got) != "" {
			t.Errorf("%s: got %q, %v", kind, got, err)
		}
	}
	s := openCodec(t, stdio.Connector(), strings.NewReader("a,a\n1,2\n"), "csv", 100)
	if _, err := readAll(t, s); !bridge.IsPermanent(err) ||
		err.Error() != "stdin: the row that names the columns has the name of column 2 twice; "+
			"the setting columns names them otherwise" {
		t.Errorf("two columns with one name: %v", err)
	}
}
