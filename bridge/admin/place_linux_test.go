package admin_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// A state folder whose path is longer than that of a socket may be is reached by its folder.
func TestDeepFolder(t *testing.T) {
	at := admin.InState(owned.Place{Path: filepath.Join(t.TempDir(), strings.Repeat("deep", 20),
		strings.Repeat("deeper", 20))})
	listenAt(t, at)
	asked(t, at)
}

// listenAt has a bridge answer at a place until the test ends.
func listenAt(t *testing.T, at admin.Place) {
	t.Helper()
	s := admin.New(admin.Options{Bridge: &engine.Bridge{}, Monitor: monitor.New()})
	t.Cleanup(s.Close)
	if _, err := s.Listen(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

// asked asks the bridge there for its status, and returns the client.
func asked(t *testing.T, at admin.Place) *admin.Client {
	t.Helper()
	c, err := admin.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	return c
}

// Root asks the bridge of another user, unless others can exchange its socket, and makes nothing in
// its folder.
func TestRootAsksABridgeOfAnother(t *testing.T) {
	bridgetest.Root(t, "to give a folder away")
	const stranger = 4711
	dir := filepath.Join(t.TempDir(), "state")
	at := admin.InState(owned.Place{Path: dir})
	listenAt(t, at)
	if err := errors.Join(os.Lchown(at.String(), stranger, stranger), os.Lchown(dir, stranger, stranger)); err != nil {
		t.Fatal(err)
	}
	c := asked(t, at)
	if _, err := c.Place.Folder.Open(); !errors.As(err, new(*owned.OthersError)) {
		t.Errorf("to write there: %v", err)
	}
	link := dir + "-link"
	if err := errors.Join(os.Symlink(dir, link), os.Lchown(link, stranger, stranger)); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Dial(t.Context(), admin.InState(owned.Place{Path: link})); !errors.As(err,
		new(*owned.OthersError)) {
		t.Errorf("by a link of another: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Dial(t.Context(), at); !errors.As(err, new(*owned.OthersError)) {
		t.Errorf("where all can write: %v", err)
	}
}

// S37: nobody answers in place of a bridge by making the folder in which one without a state would
// be, not to root either.
func TestS37ElsewhereOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give a folder away")
	const stranger = 4711
	t.Setenv("TMPDIR", t.TempDir())
	at := admin.Elsewhere("state")
	s := admin.New(admin.Options{Bridge: &engine.Bridge{}, Monitor: monitor.New()})
	defer s.Close()
	if _, err := s.Listen(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{at.String(), at.Folder.Path} {
		if err := os.Lchown(path, stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := admin.Dial(t.Context(), at); !errors.As(err, new(*owned.OthersError)) {
		if err == nil {
			c.Close()
		}
		t.Errorf("got %v", err)
	}
}

// S37: of bridges that start in the same instant one has the socket, and the others say so.
func TestS37OneHasTheSocket(t *testing.T) {
	at := admin.InState(owned.Place{Path: t.TempDir()})
	for range 50 {
		const starting = 8
		var bridges [starting]*admin.Server
		errs := make(chan error, starting)
		for i := range bridges {
			bridges[i] = admin.New(admin.Options{})
			go func() {
				_, err := bridges[i].Listen(t.Context(), at)
				errs <- err
			}()
		}
		have := 0
		for range bridges {
			if err := <-errs; err == nil {
				have++
			} else if !errors.As(err, new(*admin.InUseError)) {
				t.Error(err)
			}
		}
		for _, b := range bridges {
			b.Close()
		}
		if have != 1 {
			t.Fatalf("%d bridges took the socket", have)
		}
	}
}
