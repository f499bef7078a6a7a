package framing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

// cut feeds text in pieces, and returns the messages, in the place of one that is refused ! and the
// reason, and why the stream cannot be read. It checks that spans are those of the messages.
func cut(t *testing.T, c framing.Codec, text string, limit, piece, most int) (got []string, err error) {
	t.Helper()
	s := framing.NewSplitter(limit)
	s.Use(c)
	held := 0
	var last bool
	for rest := text; ; {
		n := copy(s.Room(), rest[:min(piece, len(rest))])
		s.Filled(n)
		rest = rest[n:]
		if last = rest == ""; last && s.Err() == nil {
			held = s.Held()
		}
		count := 0
		for {
			batch, ack, long := s.Lines("", most, last)
			if len(batch) == 0 {
				break
			}
			count += len(batch)
			for i, p := range s.Spans() {
				if raw := text[p.Begin:p.End]; len(long) == 0 && !strings.HasPrefix(raw, string(batch[i].Payload)) {
					t.Fatalf("%q is not at %v of %q", batch[i].Payload, p, text)
				}
			}
			framing.Trim(batch, false)
			err := s.Finish(batch, long, func(l framing.Long) string {
				return fmt.Sprintf("%s %d at %d", c.Of(),
					l.Line, l.Offset)
			})
			refused, _ := errors.AsType[bridge.Refusals](err)
			for i, m := range batch {
				if len(refused) > 0 && refused[0].Index == i {
					got, refused = append(got, "!"+refused[0].Err.Error()), refused[1:]
					continue
				}
				got = append(got, string(m.Payload))
			}
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if last {
			if s.Err() == nil && (s.Rest() != 0 || held != count) {
				t.Fatalf("%q: %d bytes left, %d messages held and %d taken", text, s.Rest(), held, count)
			}
			return got, s.Err()
		}
	}
}

func codec(kind string, change func(c *framing.Codec)) framing.Codec {
	c := framing.DefaultCodec()
	c.Kind = kind
	if change != nil {
		change(&c)
	}
	return c
}

func TestCodecs(t *testing.T) {
	csv, values, whole := codec("csv", nil), codec("json", nil), codec("whole", nil)
	named := codec("csv", func(c *framing.Codec) { c.Columns, c.Types.Default = []string{"x", "y"}, "auto" })
	several := codec("multiline", func(c *framing.Codec) { c.Start = `^\d` })
	for _, c := range []struct {
		codec framing.Codec
		text  string
		want  []string
		err   string
	}{
		{codec: csv},
		{codec: csv, text: "b,a\n"},
		{csv, "b,a\r\n1,\"x\n\"\"y\"\r\n\r\n\n2,z", []string{`{"b":"1","a":"x\n\"y"}`, `{"b":"2","a":"z"}`}, ""},
		{csv, "\xef\xbb\xbf\"b\",a\n1\n2,3\n", []string{
			"!row 1 at 9: column 2: there are values for 1 of 2 columns",
			`{"b":"2","a":"3"}`,
		}, ""},
		{
			csv, "a,a\n1,2\n", nil,
			"the row that names the columns has the name of column 2 twice; the setting columns names them otherwise",
		},
		{
			csv, "a\n" + strings.Repeat("x", 50) + "\nb\n",
			[]string{"!row 1 at 2 has 50 bytes, and max_line is 40B: raise max_line to let it pass", `{"a":"b"}`},
			"",
		},
		// A quote without its end takes no more with it than max_line allows.
		{csv, "a\n\"" + strings.Repeat("x\n", 25) + "b\n", []string{
			"!row 1 at 2 has 42 bytes, and max_line is 40B: raise max_line to let it pass",
			`{"a":"x"}`, `{"a":"x"}`, `{"a":"x"}`, `{"a":"x"}`, `{"a":"b"}`,
		}, ""},
		{named, "1,2\n3,x\n", []string{`{"x":1,"y":2}`, `{"x":3,"y":"x"}`}, ""},
		{values, " {\"a\": \"}\\\"\"}\n[1]\"x\" 12345678901234567890.10\ttrue{}\n\n", []string{
			`{"a": "}\""}`, `[1]`, `"x"`, `12345678901234567890.10`, `true`, `{}`,
		}, ""},
		{values, "\xef\xbb\xbf1\n2", []string{"1", "2"}, ""},
		{values, "nope ] {\"a\":1,} 7", []string{
			"!value 1 at 0: line 1, column 2: is not JSON from here on",
			"!value 2 at 5: line 1, column 1: is not JSON from here on",
			"!value 3 at 7: line 1, column 8: is not JSON from here on", "7",
		}, ""},
		{values, "{\"a\":", []string{"!value 1 at 0: line 1, column 5: is not JSON from here on"}, ""},
		{codec: whole},
		{whole, "a\n\xff\r\n", []string{"a\n\xff\r\n"}, ""},
		{
			whole, strings.Repeat("\n", 41),
			[]string{"!message 1 at 0 has 41 bytes, and max_line is 40B: raise max_line to let it pass"},
			"",
		},
		{several, "before\n1 a\n  b\r\n\n2\n3\n c", []string{"before", "1 a\n  b\r\n", "2", "3\n c"}, ""},
		{several, "\n\n1", []string{"1"}, ""},
		{several, "1\n2\n", []string{"1", "2"}, ""},
	} {
		for _, piece := range []int{1, 3, 1000} {
			for _, most := range []int{1, 100} {
				got, err := cut(t, c.codec, c.text, 40, piece, most)
				text := ""
				if err != nil {
					text = err.Error()
				}
				if d := cmp.Diff(c.want, got); d != "" || text != c.err {
					t.Errorf("%s of %q in pieces of %d, batches of %d: %v (-want +got)\n%s", c.codec.Kind, c.text,
						piece, most, err, d)
				}
			}
		}
	}
}

// FuzzCodec checks that messages do not depend on how a stream arrives, and are JSON where they
// should be.
func FuzzCodec(f *testing.F) {
	for kind := range uint8(4) {
		for _, text := range []string{
			"a,b\n1,\"2\n\"\n", "{\"a\":1}[2]3 \"x\"\n", "1 a\n b\n2\n",
			"\xef\xbb\xbf\"\n\r\n", "}{\\\"", "\n\n\r\n \t",
		} {
			f.Add(text, kind, uint8(1), uint8(2))
		}
	}
	f.Fuzz(func(t *testing.T, text string, kind, piece, most uint8) {
		c := codec([]string{"csv", "json", "whole", "multiline"}[kind%4], func(c *framing.Codec) {
			if c.Kind == "multiline" {
				c.Start = `^\d`
			}
		})
		got, err := cut(t, c, text, 1<<20, 1+int(piece), 1+int(most))
		want, wantErr := cut(t, c, text, 1<<20, 1<<20, 1<<20)
		if d := cmp.Diff(want, got); d != "" || (err == nil) != (wantErr == nil) {
			t.Errorf("%s of %q in pieces of %d: %v, %v\n%s", c.Kind, text, 1+piece, err, wantErr, d)
		}
		for _, m := range got {
			if !strings.HasPrefix(m, "!") && (c.Kind == "csv" || c.Kind == "json") && !json.Valid([]byte(m)) {
				t.Errorf("%s of %q: %q is not JSON", c.Kind, text, m)
			}
		}
	})
}

func TestRecallFindsTheNames(t *testing.T) {
	big := strings.Repeat("x", framing.MaxHeader+1)
	for _, c := range []struct {
		begin string
		size  int64
		known bool
		err   string
	}{
		{"a,b\n1,2\n", 8, true, ""},
		{"\n\na,b\n1", 6, true, ""},
		{"\n\na,b\n1", 2, false, ""}, // the names come yet
		{"a,b", 0, false, ""},
		{
			"a,a\n1,2\n", 8, false,
			"the row that names the columns has the name of column 2 twice; the setting columns names them otherwise",
		},
		{big, 1 << 20, false, fmt.Sprintf("the row that names the columns has more than %d bytes", len(big))},
	} {
		s := framing.NewSplitter(100)
		s.Use(codec("csv", nil))
		err := s.Recall([]byte(c.begin), c.size)
		if (s.Table != nil) != c.known || err != nil && err.Error() != c.err || (err == nil) != (c.err == "") {
			t.Errorf("%.20q, %d bytes taken: %v, %v", c.begin, c.size, s.Table, err)
		}
	}
}

func TestCodecSettings(t *testing.T) {
	for want, c := range map[string]framing.Codec{
		"start: goes with multiline, and says what the first line of a message matches, such as ^\\d{4}-": codec(
			"multiline", nil),
		"columns: are of csv, and the kind is json": codec(
			"json", func(c *framing.Codec) { c.Columns = []string{"a"} }),
		"delimiter: is of csv, and the kind is whole": codec(
			"whole", func(c *framing.Codec) { c.Delimiter = ";" }),
		"columns: a name stands twice": codec(
			"csv", func(c *framing.Codec) { c.CSV = record.CSV{Columns: []string{"a", "a"}} }),
	} {
		if err := c.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := codec("multiline", func(c *framing.Codec) { c.Start = "(" }).Validate(); err == nil {
		t.Error("a pattern that is none is valid")
	}
}
