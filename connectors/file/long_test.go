package file_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// long is a line that is longer than the default of max_line.
var long = strings.Repeat("x", 3<<19)

// cut is what of the line is handed on.
var cut = long[:1<<10]

// readOn reads n messages, and returns their payloads, why some were refused, and all acks.
func readOn(t *testing.T, s bridge.Source, n int) (got, reasons []string, acks []bridge.Ack) {
	t.Helper()
	for len(got) < n {
		batch, ack, err := s.Read(t.Context())
		refused, _ := errors.AsType[bridge.Refusals](err)
		for _, r := range refused {
			reasons = append(reasons, r.Err.Error())
			if len(batch[r.Index].Payload) != len(cut) || batch[r.Index].Topic == "" {
				t.Errorf("message %d is refused, and has %d bytes, topic %q", r.Index, len(batch[r.Index].Payload),
					batch[r.Index].Topic)
			}
		}
		for _, m := range batch {
			got = append(got, string(m.Payload))
		}
		if len(batch) > 0 {
			acks = append(acks, ack)
		}
		if err != nil && refused == nil {
			t.Fatalf("after %d messages: %v", len(got), err)
		}
	}
	return got, reasons, acks
}

func settle(t *testing.T, acks []bridge.Ack) {
	t.Helper()
	for _, ack := range acks {
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestE3LineTooLong: a line that is too long is refused with the front of it, and the others
// arrive.
func TestE3LineTooLong(t *testing.T) {
	for _, follow := range []bool{false, true} {
		for _, c := range []struct {
			name, text string
			want       []string
		}{
			{"in the middle", "short\n" + long + "\nlast\n", []string{"short", cut, "last"}},
			{"at the end", "short\n" + long, []string{"short", cut}},
		} {
			path := filepath.Join(t.TempDir(), "in.log")
			put(t, path, c.text)
			s, err := openSource(t, func(s *file.SourceSettings) { s.Path, s.Follow = []string{path}, follow })
			if err != nil {
				t.Fatal(err)
			}
			if follow && !strings.HasSuffix(c.text, "\n") {
				appendTo(t, path, "\n")
			}
			got, reasons, acks := readOn(t, s, len(c.want))
			settle(t, acks)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s, follow=%t: %s", c.name, follow, d)
			}
			reason := fmt.Sprintf("the line at byte 6 of %s has %d bytes, and max_line is 1MiB: "+
				"raise max_line to let it pass", path, len(long))
			if d := cmp.Diff([]string{reason}, reasons); d != "" {
				t.Errorf("%s, follow=%t: %s", c.name, follow, d)
			}
			if !follow {
				if _, _, err := s.Read(t.Context()); err != io.EOF {
					t.Errorf("%s: at the end: %v", c.name, err)
				}
			}
		}
	}
}

// TestE3LineTooLongOverARestart: the line has the same id when it comes again, and is never given
// in two parts.
func TestE3LineTooLongOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.log")
	put(t, path, "short\n"+long)
	env := bridgetest.Env(t, "test-from")
	c := file.Connector()
	settings := c.Source.Settings().(*file.SourceSettings)
	settings.Path, settings.Follow = []string{path}, true
	open := func() bridge.Source {
		s, err := c.Source.Open(t.Context(), settings, env)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	ids := func(s bridge.Source, want ...string) (ids []string, ack bridge.Ack) {
		t.Helper()
		batch, ack, err := s.Read(t.Context())
		if refused, ok := errors.AsType[bridge.Refusals](err); !ok && err != nil || len(batch) != len(want) {
			t.Fatalf("got %d messages, %v, %v", len(batch), refused, err)
		}
		for i, m := range batch {
			if string(m.Payload) != want[i] {
				t.Errorf("message %d has %d bytes, want %d", i, len(m.Payload), len(want[i]))
			}
			ids = append(ids, m.ID)
		}
		return ids, ack
	}

	s := open()
	_, ack := ids(s, "short")
	settle(t, []bridge.Ack{ack})
	_ = s.Close() // in the middle of the long line

	appendTo(t, path, "y\nnext\n")
	s = open()
	first, _ := ids(s, cut, "next")
	_ = s.Close() // before they are delivered

	s = open()
	again, ack := ids(s, cut, "next")
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("the ids differ: %s", d)
	}
	settle(t, []bridge.Ack{ack})
	_ = s.Close()

	appendTo(t, path, "last\n")
	ids(open(), "last")
}

// TestE3UnfinishedLongLineHoldsNobodyUp: lines of another file arrive while one that is too long
// grows in pieces.
func TestE3UnfinishedLongLineHoldsNobodyUp(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	put(t, a, "")
	put(t, b, "")
	s := follow(t, filepath.Join(dir, "*.log"))
	for i := range 5 {
		appendTo(t, a, long)
		appendTo(t, b, fmt.Sprintln(i))
		got, reasons, acks := readOn(t, s, 1)
		if d := cmp.Diff([]string{fmt.Sprint(i)}, got); d != "" || reasons != nil {
			t.Fatalf("%s %v", d, reasons)
		}
		settle(t, acks)
	}
	appendTo(t, a, "\nafter\n")
	got, reasons, acks := readOn(t, s, 2)
	settle(t, acks)
	if d := cmp.Diff([]string{cut, "after"}, got); d != "" {
		t.Error(d)
	}
	want := fmt.Sprintf("the line at byte 0 of %s has %d bytes, and max_line is 1MiB: raise max_line to let it pass",
		a, 5*len(long))
	if d := cmp.Diff([]string{want}, reasons); d != "" {
		t.Error(d)
	}
}
