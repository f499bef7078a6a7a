package file_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// take reads n lines, and returns them with their ids and the last ack.
func (r *restarts) take(n int) (got, ids []string, last bridge.Ack) {
	r.t.Helper()
	for len(got) < n {
		b, ack, err := readWithin(r.t, r.source, bridgetest.Timeout)
		if err != nil {
			r.t.Fatalf("read %d of %d lines: %v", len(got), n, err)
		}
		for _, m := range b {
			got, ids = append(got, string(m.Payload)), append(ids, m.ID)
		}
		last = ack
	}
	return got, ids, last
}

// A line that comes again has the id that it had, over restarts and renames, and no two lines have
// the same one.
func TestLinesKeepTheirIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "a\n\nb\n")
	r := &restarts{t: t, pattern: path}
	r.open()
	_, first, _ := r.take(3)
	r.close()
	rename(t, path, path+".1")
	put(t, path, "a\n\nb\n")
	r.open()
	_, again, _ := r.take(6)
	if d := cmp.Diff(first, again[:3]); d != "" {
		t.Error(d)
	}
	r.close()
	r.open()
	_, third, ack := r.take(6)
	if d := cmp.Diff(again, third); d != "" {
		t.Error(d)
	}
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// What stands there after a cut is something else.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "another a\n\nb\n")
	_, cut, _ := r.take(3)
	all := slices.Concat(third, cut)
	slices.Sort(all)
	if len(slices.Compact(all)) != 9 {
		t.Errorf("some of %v are the same", all)
	}
	r.close()
}

// What was delivered is in the checkpoint soon after, whether anything follows or not.
func TestLastLinesAreInTheCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, bigText("line", 0, 20_000))
	r := &restarts{t: t, pattern: path}
	r.open()
	for n := 0; n < 20_000; {
		b, ack, err := r.source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		n += len(b)
	}
	bridgetest.Eventually(t, "the checkpoint is at the end", func() bool {
		data, err := r.checkpoint.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var saved struct {
			Files []struct{ Offset, Size int64 }
		}
		if err := json.Unmarshal(data, &saved); err != nil {
			t.Fatal(err)
		}
		return len(saved.Files) == 1 && saved.Files[0].Size > 0 && saved.Files[0].Offset == saved.Files[0].Size
	})
	r.close()
}

func bigText(name string, from, to int) (text string) {
	var all []byte
	for i := from; i < to; i++ {
		all = fmt.Appendf(all, "%s %040d\n", name, i)
	}
	return string(all)
}

// F17: a file is cut and written anew while the sink is down, or while what was read before is
// still being delivered. After a restart, every line that was not delivered comes, though the file
// has grown past the old offset.
func TestF17CutWhileUndelivered(t *testing.T) {
	for _, late := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "app.log")
		put(t, path, bigText("old", 0, 100))
		r := &restarts{t: t, pattern: path}
		r.open()
		_, _, ack := r.take(100)
		settle := func() {
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if !late {
			settle()
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		appendTo(t, path, bigText("new", 0, 10))
		r.take(10)
		if late {
			settle()
		}
		r.close()
		appendTo(t, path, bigText("new", 10, 200))
		r.open()
		got, _, _ := r.take(200)
		if d := cmp.Diff(bigText("new", 0, 1), got[0]+"\n"); d != "" {
			t.Error(d)
		}
		r.close()
	}
}

// F17: a restart between the rename of a rotation and the moment when the writer notices: what it
// wrote to the renamed file comes.
func TestF17RestartBetweenRenameAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n2\n")
	r := &restarts{t: t, pattern: path}
	r.open()
	_, _, ack := r.take(2)
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.close()
	rename(t, path, path+".1")
	r.open()
	appendTo(t, path+".1", "3\n")
	got, _, ack := r.take(1)
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	put(t, path, "4\n")
	more, _, _ := r.take(1)
	if d := cmp.Diff([]string{"3", "4"}, append(got, more...)); d != "" {
		t.Error(d)
	}
	r.close()
}

// F17: the same for a pattern, which does not match the new name, while there is no new file yet.
func TestF17RenamedWhileDownWithoutSuccessor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	put(t, path, "1\n2\n")
	r := &restarts{t: t, pattern: filepath.Join(dir, "*.log")}
	r.open()
	_, _, ack := r.take(2)
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.close()
	appendTo(t, path, "3\n")
	rename(t, path, path+".1")
	r.open()
	if got, _, _ := r.take(1); got[0] != "3" {
		t.Errorf("got %q", got)
	}
	r.close()
}

// The id of a line is in the checkpoint before the line is delivered, also if its file was empty or
// other when it was met.
func TestIDsAreSavedFirst(t *testing.T) {
	for _, cut := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "app.log")
		put(t, path, "")
		r := &restarts{t: t, pattern: path}
		r.open()
		if cut {
			appendTo(t, path, "what was there before\n")
			_, _, ack := r.take(1)
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			put(t, path, "1\n")
		} else {
			appendTo(t, path, "1\n")
		}
		_, first, _ := r.take(1)
		saved, err := r.checkpoint.Load(t.Context()) // as it is when the process is killed now
		if err != nil {
			t.Fatal(err)
		}
		r.close()
		if err := r.checkpoint.Save(t.Context(), saved); err != nil {
			t.Fatal(err)
		}
		r.open()
		if _, again, _ := r.take(1); first[0] != again[0] {
			t.Errorf("cut %t: the id was %s, and is %s", cut, first, again)
		}
		r.close()
	}
}

// TestE6NoIDIsGivenTwice: whatever is done to a file and to who follows it, two lines that differ
// never have the same id.
func TestE6NoIDIsGivenTwice(t *testing.T) {
	rng := faulttest.Rand(t)
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Poll, s.Grace = 2*time.Millisecond, 0 }}
	r.open()
	lines := make(map[string]string) // by id
	n := 0
	text := func() (text string) {
		for range 1 + rng.IntN(3) {
			n++
			text += fmt.Sprintf("%05d\n", n) // of one size, so that offsets come again
		}
		return text
	}
	for range 100 {
		switch rng.IntN(6) {
		case 0:
			put(t, path, text()) // cut and written anew
		case 1:
			rename(t, path, fmt.Sprintf("%s.%d", path, n))
		case 2:
			remove(t, path) // the next one often has its inode
		case 3:
			r.close()
			put(t, path, text())
			r.open()
		case 4:
			r.close()
			remove(t, path)
			put(t, path, text())
			r.open()
		}
		bridgetest.Eventually(t, "the last line comes", func() bool {
			// A file that is written anew up to its old size looks as before, until it grows.
			appendTo(t, path, text())
			last := fmt.Sprintf("%05d", n)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			for {
				batch, ack, err := r.source.Read(ctx)
				if err != nil {
					return false
				}
				for _, m := range batch {
					if before, given := lines[m.ID]; given && before != string(m.Payload) {
						t.Fatalf("%s is the id of %s and of %s", m.ID, before, m.Payload)
					}
					lines[m.ID] = string(m.Payload)
				}
				if rng.IntN(3) > 0 {
					if err := ack(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				}
				if string(batch[len(batch)-1].Payload) == last {
					return true
				}
			}
		})
	}
	r.close()
}
