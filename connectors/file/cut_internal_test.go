package file

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// TestT5CutAndGrownBeforeItIsRead: what counts as lost of a file that was cut is what stood in it
// unread before, however long it is again when a look sees it first.
func TestT5CutAndGrownBeforeItIsRead(t *testing.T) {
	long := strings.Repeat("another line\n", 500)
	for _, c := range []struct {
		name, read, unread, after, left string
		dropped                         int
	}{
		{"longer", "1\n2\n", "", "a longer one\nand more\n", "unread=0", 0},
		{"much longer", "1\n2\n", "", long, "unread=0", 0},
		{"longer than a long one", long, "", "x\n" + long, "unread=0", 0},
		{"as long", "1\n2\n", "", "3\n4\n", "unread=0", 0},
		{"shorter", "1\n2\n", "", "3\n", "unread=0", 0},
		{"empty", "1\n2\n", "", "", "unread=0", 0},
		{"longer, some unread", "1\n2\n", "3\n", "a longer one\n", "unread=2", 1},
		{"shorter, some unread", "1\n2\n", "3\n", "4\n", "unread=2", 1},
		{"longer, all unread", "", "1\n2\n", "a longer one\n", "unread=4", 1},
		{"longer, without a newline", "1\n2\n", "3", "a longer one\n", "unread=1", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			write := func(text string, flag int) {
				w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
				if err == nil {
					_, err = w.WriteString(text)
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			write(c.read, os.O_TRUNC)
			var log strings.Builder
			dropped := 0
			env := bridgetest.Env(t, "cut-from")
			env.Logger, env.Dropped = slog.New(slog.NewTextHandler(&log, nil)), func(n int) { dropped += n }
			s := defaultSource()
			s.Path, s.Follow, s.Poll = []string{path}, true, time.Hour
			source, err := openFollower(t.Context(), &s, env, charset{newline: "\n"}, newHandles())
			if err != nil {
				t.Fatal(err)
			}
			f := source.(*follower)
			// Only the looks of this test are to be.
			close(f.closing)
			f.watcher.Wait()
			f.placed = true
			drain := func() (text string) {
				for range 20 {
					batch, ack, err := f.next(time.Now())
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range batch {
						text += string(m.Payload) + "\n"
					}
					if ack != nil {
						if err := ack(t.Context(), nil); err != nil {
							t.Fatal(err)
						}
					}
					f.placed = true
					f.look()
				}
				return text
			}
			if got := drain(); got != c.read {
				t.Fatalf("read %q, want %q", got, c.read)
			}
			write(c.unread, os.O_APPEND)
			f.look()
			write(c.after, os.O_TRUNC)
			f.look()
			f.look()
			if got := drain(); got != c.after {
				t.Errorf("read %.40q behind the cut, want %.40q", got, c.after)
			}
			if n := strings.Count(log.String(), "a file was cut"); n != 1 || !strings.Contains(log.String(), c.left) {
				t.Errorf("the log has not %s once:\n%s", c.left, log.String())
			}
			if gone := strings.Contains(log.String(), "a file is gone"); gone != (c.dropped > 0) || dropped != c.dropped {
				t.Errorf("%d lines count as dropped, want %d:\n%s", dropped, c.dropped, log.String())
			}
			f.closing = make(chan struct{})
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
