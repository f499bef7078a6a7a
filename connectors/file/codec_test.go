package file_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

func TestCodecsOfFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.csv"), "n,name\r\n1,\"x\r\ny\"\r\n")
	put(t, filepath.Join(dir, "b.csv"), "name,n\nbad\nz,\xe9\n") // another order, and é in Latin-1
	put(t, filepath.Join(dir, "c.csv"), "name\n")
	for _, c := range []struct {
		name    string
		change  func(*file.SourceSettings)
		want    []string
		refused string
	}{
		{"*.csv", func(s *file.SourceSettings) {
			s.Codec.Kind, s.Codec.Types.Default, s.Encoding = "csv", "auto", "windows-1252"
		}, []string{
			`{"n":1,"name":"x\r\ny"}`, "bad", `{"name":"z","n":"é"}`,
		}, "the row at byte 7 of " + filepath.Join(dir, "b.csv") + ": column 4: there are values for 1 of 2 columns"},
		{"b.csv", func(s *file.SourceSettings) { s.Codec.Kind = "whole" }, []string{"name,n\nbad\nz,\xe9\n"}, ""},
		{
			"a.csv", func(s *file.SourceSettings) { s.Codec.Kind, s.Codec.Start = "multiline", "^[n1]" },
			[]string{"n,name", "1,\"x\r\ny\""},
			"",
		},
	} {
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path = []string{filepath.Join(dir, c.name)}
			c.change(s)
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		reason := ""
		for {
			batch, ack, err := s.Read(t.Context())
			for _, m := range batch {
				got = append(got, string(m.Payload))
			}
			if r, is := err.(bridge.Refusals); is {
				reason += r.Error()
			} else if err != nil {
				break
			}
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" || reason != c.refused {
			t.Errorf("%s: refused %q (-want +got)\n%s", c.name, reason, d)
		}
	}
	put(t, filepath.Join(dir, "bad.csv"), "a,a\n1,2\n")
	for _, follow := range []bool{false, true} {
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path, s.Codec.Kind, s.Follow = []string{filepath.Join(dir, "bad.csv")}, "csv", follow
		})
		if err != nil {
			t.Fatal(err)
		}
		if batch, _, err := s.Read(t.Context()); !bridge.IsPermanent(err) || len(batch) > 0 ||
			!strings.Contains(err.Error(), "bad.csv: the row that names the columns") {
			t.Errorf("two columns with one name: %d messages, %v", len(batch), err)
		}
	}
}

// TestF17RowsKeepTheirColumns: a restart in the middle of a file knows what its columns are called,
// whether a batch is settled in part, the file is renamed meanwhile, or another one with other
// columns comes; and what comes again has the id that it had.
func TestF17RowsKeepTheirColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	put(t, path, "\n\xef\xbb\xbftime,room\n1,a\n\n2,\"b\nb\"\n\n3,c\n4,")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Codec.Kind = "csv" }}
	want := []string{`{"time":"1","room":"a"}`, `{"time":"2","room":"b\nb"}`, `{"time":"3","room":"c"}`}
	var ids []string
	for settled := range want {
		r.open()
		got, again, ack := r.take(len(want) - settled)
		if d := cmp.Diff(want[settled:], got); d != "" {
			t.Fatalf("%d are settled: %s", settled, d)
		}
		if ids = append(ids, again[0]); !slices.Equal(again[:1], ids[settled:]) || settled > 0 && ids[settled-1] == again[0] {
			t.Errorf("the ids are %v", ids)
		}
		if err := ack(t.Context(), bridge.GiveBack(1, errors.New("the sink is down"))); err != nil {
			t.Fatal(err)
		}
		r.close()
	}
	appendTo(t, path, "d\n")
	rename(t, path, path+".1")
	put(t, path, "other\n5\n")
	order(t, path+".1", path)
	r.open()
	got, first, _ := r.take(2)
	if d := cmp.Diff([]string{`{"time":"4","room":"d"}`, `{"other":"5"}`}, got); d != "" {
		t.Error(d)
	}
	r.close()
	r.open()
	if _, again, _ := r.take(2); !slices.Equal(first, again) {
		t.Errorf("what comes again has other ids: %v, %v", first, again)
	}
	r.close()
}

// What stands there at first is skipped by from: end, but for the names of the columns.
func TestColumnsBeforeTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	put(t, path, "time,room\n1,a\n")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Codec.Kind, s.From = "csv", "end" }}
	r.open()
	appendTo(t, path, "2,b\n")
	if got, _, _ := r.take(1); got[0] != `{"time":"2","room":"b"}` {
		t.Errorf("got %q", got)
	}
	r.close()
}

// Values and messages of several lines arrive in pieces, and no more of them is given than is
// whole.
func TestFollowedCodecs(t *testing.T) {
	for _, c := range []struct {
		codec  framing.Codec
		pieces []string
		want   []string
	}{
		{framing.Codec{Kind: "json"}, []string{"{\"a\":\n", "1}\n[", "2]\n\n"}, []string{"{\"a\":\n1}", "[2]"}},
		{
			framing.Codec{Kind: "multiline", Start: `^\d`},
			[]string{"1 a\n b\n2", " c\n", "\td\n"},
			[]string{"1 a\n b", "2 c\n\td"},
		},
		{framing.Codec{Kind: "whole"}, []string{"a\nb", "\nc\n"}, []string{"a\nb\nc\n"}},
	} {
		path := filepath.Join(t.TempDir(), "in")
		put(t, path, "")
		r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) {
			if s.Codec = c.codec; c.codec.Kind != "json" {
				s.FlushAfter = 50 * time.Millisecond
			}
		}}
		if c.codec.Kind != "json" {
			put(t, path, strings.Join(c.pieces, "")) // what comes later may come too late to be whole
			c.pieces = nil
		}
		r.open()
		for _, p := range c.pieces {
			appendTo(t, path, p)
		}
		got, _, ack := r.take(len(c.want))
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.codec.Kind, d)
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		r.close()
		r.open() // where it ended, and what came to an end there does not come again
		appendTo(t, path, "{}\n9\n")
		if got, _, _ := r.take(1); got[0] != map[string]string{
			"json": "{}", "multiline": "{}",
			"whole": "{}\n9\n",
		}[c.codec.Kind] {
			t.Errorf("%s, after a restart: %q", c.codec.Kind, got)
		}
		r.close()
	}
}

// A quote that is not closed makes one row of all that follows: that is said, not only waited for.
func TestRowThatDoesNotEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	put(t, path, "place,t\ngarage,\"uncl,3\nhall,4\nroof,5\n")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Codec.Kind = "csv" }}
	r.open()
	expectNothing(t, r.source)
	if got := r.log.about("a quote that is not closed"); len(got) != 1 || !strings.Contains(got[0], "byte=8") {
		t.Errorf("the log says %q", got)
	}
	appendTo(t, path, "\"\n")
	if got, _, _ := r.take(1); got[0] != `{"place":"garage","t":"uncl,3\nhall,4\nroof,5\n"}` {
		t.Errorf("got %q", got)
	}
}
