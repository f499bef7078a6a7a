package file_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// warnings keeps what is logged, a line each.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(p))
	return len(p), nil
}

// about returns those that hold a text.
func (w *warnings) about(text string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.lines), func(line string) bool { return !strings.Contains(line, text) })
}

// TestT5MovedAwayWhileDown: what was not read of a file that is gone at the start is read where it
// is found by its identity, and else one warning says of which file and how much.
func TestT5MovedAwayWhileDown(t *testing.T) {
	elsewhere := t.TempDir()
	for _, c := range []struct {
		name  string
		move  func(t *testing.T, path string)
		found bool
	}{
		{"renamed", func(t *testing.T, path string) { rename(t, path, path+".bak") }, true},
		{"renamed to any name", func(t *testing.T, path string) { rename(t, path, filepath.Dir(path)+"/old things") }, true},
		{"moved into a folder beside it", func(t *testing.T, path string) {
			rename(t, path, filepath.Dir(path)+"/archive/app.log-20261127")
		}, true},
		{"moved elsewhere", func(t *testing.T, path string) { rename(t, path, elsewhere+"/app.log") }, false},
		{"deleted", func(t *testing.T, path string) { remove(t, path) }, false},
	} {
		for _, pattern := range []string{"app.log", "*.log"} {
			for _, seen := range []bool{false, true} { // what is not read
				for _, successor := range []bool{false, true} {
					t.Run(c.name, func(t *testing.T) {
						dir := t.TempDir()
						path := filepath.Join(dir, "app.log")
						if err := os.Mkdir(filepath.Join(dir, "archive"), 0o700); err != nil {
							t.Fatal(err)
						}
						put(t, path, "1\n")
						r := &restarts{t: t, pattern: filepath.Join(dir, pattern)}
						r.open()
						expect(t, r.source, "1")
						if seen {
							expectNothing(t, r.source) // but look
							appendTo(t, path, "2\n3\n")
							_, _, ack := r.take(2)
							if err := ack(t.Context(), os.ErrClosed); err != nil { // not delivered
								t.Log(err)
							}
						}
						r.close()
						if !seen {
							appendTo(t, path, "2\n3\n")
						}
						c.move(t, path)
						var want []string
						if c.found {
							want = []string{"2", "3"}
						}
						if successor {
							put(t, path, "new\n")
							want = append(want, "new")
						}
						r.open()
						expect(t, r.source, want...)
						expectNothing(t, r.source)
						warned := r.log.about("a file is gone")
						unread := map[bool]string{false: "unread=0", true: "unread=4"}[seen]
						if (len(warned) == 1) == c.found || len(warned) > 1 {
							t.Errorf("%d warnings: %q", len(warned), warned)
						}
						if len(warned) == 1 && (!strings.Contains(warned[0], path) || !strings.Contains(warned[0], unread)) {
							t.Errorf("the warning has not %s: %s", unread, warned[0])
						}
						if n, want := r.dropped.Load(), map[bool]int64{true: 2}[seen && !c.found]; n != want {
							t.Errorf("%d lines count as dropped, want %d", n, want)
						}
						r.close()
						r.log.lines = nil
						r.open()
						expectNothing(t, r.source)
						if again := r.log.about("a file is gone"); len(again) > 0 {
							t.Errorf("the next start warns again: %q", again)
						}
						r.close()
					})
				}
			}
		}
	}
}

// TestT5GoneWhileInFlight: lines that were read of a file that is gone when they are given back are
// counted, once, as those that were never read.
func TestT5GoneWhileInFlight(t *testing.T) {
	for name, gone := range map[string]func(t testing.TB, path string){
		"deleted":  remove,
		"replaced": func(t testing.TB, path string) { remove(t, path); put(t, path, "new\n") },
		"cut":      func(t testing.TB, path string) { put(t, path, "new\n") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			put(t, path, "1\n2\n3\n")
			r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Grace, s.Poll = 1, time.Millisecond }}
			r.open()
			_, _, ack := r.take(3)
			gone(t, path)
			acks := []bridge.Ack{ack}
			if name != "deleted" {
				_, _, ack := r.take(1) // so that the file of before was left
				acks = append(acks, ack)
			}
			expectNothing(t, r.source)
			for _, ack := range acks {
				if err := ack(t.Context(), os.ErrClosed); err != nil { // not delivered
					t.Log(err)
				}
			}
			r.close()
			r.open()
			if name != "deleted" {
				expect(t, r.source, "new")
			}
			expectNothing(t, r.source)
			r.close()
			r.open()
			expectNothing(t, r.source)
			r.close()
			if n := r.dropped.Load(); n != 3 {
				t.Errorf("%d lines count as dropped, want 3", n)
			}
		})
	}
}
