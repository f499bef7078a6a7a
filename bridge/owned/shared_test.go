//go:build unix

package owned_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

const setting = "state: {shared: true}"

// use does with a folder what a bridge does at a start: it makes and opens it, locks a file, looks
// at the tree of the server, and makes a socket for commands.
func (p *place) use(shared bool) error {
	d, err := owned.Place{Path: p.folder, Shared: shared, Setting: setting}.Make()
	if err != nil {
		return err
	}
	f, err := d.OpenFile("lock", true)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		_, err = d.CheckTree("tree")
	}
	if err == nil {
		var l interface{ Close() error }
		if l, err = d.Listen(p.t.Context(), "socket"); err == nil {
			c, failed := d.Dial(p.t.Context(), "socket")
			if err = failed; err == nil {
				err = c.Close()
			}
			err = errors.Join(err, l.Close())
		}
	}
	return errors.Join(err, d.Close())
}

// all gives what is in the folder, and it, an owner and a group (-1: as they are) and modes.
func (p *place) all(user, group int, folders, files fs.FileMode) {
	p.t.Helper()
	bridgetest.Root(p.t, "to give a folder to another user or group")
	p.must(filepath.WalkDir(p.folder, func(path string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, os.Lchown(path, user, group)); err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(path, folders)
		}
		return os.Chmod(path, files)
	}))
}

// fsGroup does what Kubernetes does with a volume at each start of a pod.
func (p *place) fsGroup() { p.all(-1, 4712, 0o770|fs.ModeSetgid, 0o660) }

// S37: of each kind of folder, what is said without the setting, and with it: it does away with
// owners and modes, and never with links.
func TestS37SharedPlaces(t *testing.T) {
	const group, nobody, all = "is writable by group 4712, so others could change what is in it: chmod -R go-w ",
		"belongs to user 4711, and this is user 0: run it as that user: sudo -u '#4711' xrtcbridge …",
		"is writable by everybody, so anybody could change what is in it: chmod -R go-w "
	link := func(p *place, name string) { p.must(os.Symlink(p.fileLink, filepath.Join(p.folder, name))) }
	for _, c := range []struct {
		name        string
		prepare     func(p *place)
		alone, used string // what is said without and with the setting; empty: it is used
	}{
		{"its own", func(*place) {}, "", ""},
		{"fsGroup", (*place).fsGroup, group, ""},
		{"fsGroup, of another user", func(p *place) { p.all(4711, 4712, 0o770|fs.ModeSetgid, 0o660) }, nobody, ""},
		{"fsGroup, the folder closed by hand", func(p *place) {
			p.fsGroup()
			p.mode(p.folder, 0o700)
		}, "tree " + group, ""},
		{"group root, as in OpenShift", func(p *place) { p.all(4711, 0, 0o770|fs.ModeSetgid, 0o660) }, nobody, ""},
		{"group root, own", func(p *place) { p.all(0, 0, 0o770|fs.ModeSetgid, 0o660) }, "", ""},
		{"bind mount of another user", func(p *place) { p.all(4711, 4711, 0o755, 0o644) }, nobody, ""},
		{"no modes", func(p *place) { p.all(0, 0, 0o777, 0o777) }, all, ""},
		{"no owners and no modes", func(p *place) { p.all(4711, 4711, 0o777, 0o777) }, nobody, ""},
		{"sticky", func(p *place) { p.mode(p.folder, 0o777|fs.ModeSticky) }, all, ""},
		{"only the tree is another's", func(p *place) {
			p.give(filepath.Join(p.folder, "tree", "file"))
		}, "tree/file belongs to user 4711, and this is user 0: chown -R 0 ", ""},
		{"lock that is a link", func(p *place) { link(p, "lock") }, "lock is a symbolic link", "lock is a symbolic link"},
		{
			"link in the tree", func(p *place) { link(p, "tree/link") }, "tree/link is a symbolic link",
			"tree/link is a symbolic link",
		},
		{"fsGroup, link in the tree", func(p *place) {
			link(p, "tree/link")
			p.fsGroup()
		}, group, "tree/link is a symbolic link"},
		{"link of another on the way", func(p *place) {
			p.give(p.folderLink)
			p.folder = p.folderLink
		}, "belongs to user 4711, who could", "belongs to user 4711, who could"},
		{"own link on the way", func(p *place) { p.folder = p.folderLink }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, shared := range []bool{false, true} {
				p := newPlace(t)
				p.must(os.Mkdir(filepath.Join(p.folder, "tree"), 0o700))
				p.must(os.WriteFile(filepath.Join(p.folder, "tree", "file"), []byte("text"), 0o600))
				c.prepare(p)
				want := c.alone
				if shared {
					want = c.used
				}
				err := p.use(shared)
				if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("shared %t: got %v, want %q", shared, err, want)
				}
				if others := errors.As(err, new(*owned.OthersError)) && p.folder != p.folderLink; others &&
					(!strings.Contains(err.Error(), setting) || !strings.Contains(err.Error(), p.folder)) {
					t.Errorf("the error does not name setting and folder: %v", err)
				}
				if text, err := os.ReadFile(p.file); string(text) != "text" || err != nil {
					t.Errorf("the file has %q, %v", text, err)
				}
			}
		})
	}
}

// S37: what is made in a shared folder is closed to others all the same, and what Kubernetes opens
// to the group stays usable, however often.
func TestS37SharedAgain(t *testing.T) {
	p := newPlace(t)
	p.must(os.RemoveAll(p.folder))
	for range 3 {
		p.must(p.use(true))
		p.fsGroup()
	}
	p.must(os.Remove(filepath.Join(p.folder, "lock")))
	p.must(p.use(true))
	info, err := os.Stat(filepath.Join(p.folder, "lock"))
	p.must(err)
	if info.Mode() != 0o600 {
		t.Errorf("a file is made as %v", info.Mode())
	}
}

// S37: the error says which folder it is, why, and the command for it, as a shell takes it.
func TestS37Commands(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(p *place)
	}{
		{"folder of a group", "is writable by group 4711, so others could change what is in it: chmod g-w '", func(p *place) {
			p.give(p.folder)
			p.must(os.Chown(p.folder, os.Geteuid(), stranger))
			p.mode(p.folder, 0o775)
		}},
		{"folder of a group and everybody", "anybody could change what is in it: chmod go-w '", func(p *place) {
			p.give(p.folder)
			p.must(os.Chown(p.folder, os.Geteuid(), stranger))
			p.mode(p.folder, 0o777)
		}},
		{
			"folder of another, to root", "choose another place, or run it as that user: sudo -u '#4711' xrtcbridge …",
			func(p *place) { p.give(p.folder) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			odd := filepath.Join(p.above, "it's a folder")
			p.must(os.Rename(p.folder, odd))
			p.folder, p.file = odd, filepath.Join(odd, "file")
			c.spoil(p)
			want := c.want
			if strings.HasSuffix(want, " '") {
				want += strings.ReplaceAll(odd, "'", `'\''`) + "'"
			}
			if err := owned.File(p.file); err == nil || !strings.HasPrefix(err.Error(), odd+" ") ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
