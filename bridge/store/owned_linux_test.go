package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

const stranger = 4711

// give makes a file, and all below it, another user's.
func give(t *testing.T, path string) {
	t.Helper()
	bridgetest.Root(t, "to give a file away")
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, stranger, stranger))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// S37: a state that another user has prepared is refused, by a bridge and by commands, and nothing
// is written. If it is shared, that goes for links only.
func TestS37PreparedState(t *testing.T) {
	for _, c := range []struct {
		name, want string
		prepare    func(t *testing.T, dir, victim string) error
	}{
		{
			"its folder is another's, its lock is a link",
			"belongs to user 4711, and this is user 0: run it as that user: sudo -u '#4711' xrtcbridge …",
			func(t *testing.T, dir, victim string) error {
				err := os.Symlink(victim, filepath.Join(dir, "xrtcbridge.lock"))
				give(t, dir)
				return err
			},
		},
		{
			"its folder is writable by others",
			"is writable by everybody, so anybody could change what is in it: chmod -R go-w ",
			func(_ *testing.T, dir, _ string) error {
				return os.Chmod(dir, 0o777|fs.ModeSticky)
			},
		},
		{"the way to its folder is another's link", "belongs to user 4711", func(t *testing.T, dir, _ string) error {
			err := errors.Join(os.Rename(dir, dir+"-real"), os.Symlink(dir+"-real", dir))
			bridgetest.Root(t, "to give a link away")
			return errors.Join(err, os.Lchown(dir, stranger, stranger))
		}},
		{"its lock is a link", "xrtcbridge.lock is a symbolic link", func(_ *testing.T, dir, victim string) error {
			return os.Symlink(victim, filepath.Join(dir, "xrtcbridge.lock"))
		}},
		{"the folder of JetStream is a link", "jetstream is a symbolic link", func(_ *testing.T, dir, victim string) error {
			return os.Symlink(filepath.Dir(victim), filepath.Join(dir, "jetstream"))
		}},
		{"the folder of JetStream is another's", "jetstream belongs to user 4711", func(t *testing.T, dir, _ string) error {
			err := os.Mkdir(filepath.Join(dir, "jetstream"), 0o700)
			give(t, filepath.Join(dir, "jetstream"))
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			above := t.TempDir()
			dir, victim := filepath.Join(above, "state"), filepath.Join(above, "victim", "file")
			err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(filepath.Dir(victim), 0o700),
				os.WriteFile(victim, []byte("precious"), 0o600), c.prepare(t, dir, victim))
			if err != nil {
				t.Fatal(err)
			}
			_, err = open(t, dir).Checkpoint(pipeline, "from").Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !bridge.IsPermanent(err) {
				t.Errorf("bridge: got %v, want %s", err, c.want)
			}
			look := store.Look(store.Settings{Dir: dir}, nil, nil)
			defer shut(t, look)
			if _, err := look.Entries(t.Context(), ""); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("command: got %v, want %s", err, c.want)
			}
			shared := store.New(store.Settings{Dir: dir, Shared: true}, nil)
			defer shut(t, shared)
			_, err = shared.Checkpoint(pipeline, "from").Load(t.Context())
			if linked := strings.Contains(c.name, "link"); linked != (err != nil) {
				t.Errorf("shared: got %v, want it to be refused: %t", err, linked)
			}
			text, err := os.ReadFile(victim)
			entries, failed := os.ReadDir(filepath.Dir(victim))
			if string(text) != "precious" || len(entries) != 1 || err != nil || failed != nil {
				t.Errorf("beside %q of the victim there is %v: %v, %v", text, entries, err, failed)
			}
		})
	}
}

// S37: who has a folder above can move the state away, and put another in its place, but the bridge
// writes nothing there.
func TestS37ExchangedState(t *testing.T) {
	above := t.TempDir()
	dir, moved, victim := filepath.Join(above, "state"), filepath.Join(above, "moved"), filepath.Join(above, "victim")
	s := open(t, dir)
	e := openEnds(t, s, bridge.BufferSettings{})
	messages := numbered(1, 40, 10)
	e.write(t, messages[:20]...)
	if err := errors.Join(os.Rename(dir, moved), os.Mkdir(victim, 0o700), os.Symlink(victim, dir)); err != nil {
		t.Fatal(err)
	}
	e.write(t, messages[20:]...)
	if err := s.Checkpoint(pipeline, "from").Save(t.Context(), []byte("here")); err != nil {
		t.Error(err)
	}
	shut(t, s)
	if entries, err := os.ReadDir(victim); len(entries) > 0 || err != nil {
		t.Errorf("it wrote %v, %v", entries, err)
	}
	after := openEnds(t, open(t, moved), bridge.BufferSettings{})
	if diff := cmp.Diff(payloads(messages), payloads(after.rest(t))); diff != "" {
		t.Error(diff)
	}
}

// S38: whatever the umask and the mode of the folder, nobody else can look into the files of a
// bridge that runs; commands that it lets in can.
func TestS38StateIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0))
	s := open(t, dir)
	openEnds(t, s, bridge.BufferSettings{}).write(t, numbered(1, 10, 10)...)
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server replaces files by others at any time
		}
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
	look := store.Look(store.Settings{Dir: dir}, nil, visits(s))
	defer shut(t, look)
	if used, err := look.InUse(t.Context()); !used || err != nil {
		t.Errorf("a command: %t, %v", used, err)
	}
}
