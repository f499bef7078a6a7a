//go:build unix

package owned_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

const stranger = 4711

// place is a file above/folder/file in a folder of the test, and a link to it and one to its folder
// beside above.
type place struct {
	t                             *testing.T
	above, folder, file           string
	fileLink, folderLink, through string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{
		t: t, above: filepath.Join(dir, "above"), fileLink: filepath.Join(dir, "file"),
		folderLink: filepath.Join(dir, "link"),
	}
	p.folder = filepath.Join(p.above, "folder")
	p.file, p.through = filepath.Join(p.folder, "file"), filepath.Join(p.folderLink, "file")
	p.must(os.MkdirAll(p.folder, 0o700))
	p.must(os.WriteFile(p.file, []byte("text"), 0o600))
	p.must(os.Symlink("above/folder/file", p.fileLink))
	p.must(os.Symlink(p.folder, p.folderLink))
	return p
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// give makes what is at the path, itself, another user's.
func (p *place) give(path string) {
	p.t.Helper()
	bridgetest.Root(p.t, "to give a file away")
	p.must(os.Lchown(path, stranger, stranger))
}

func (p *place) mode(path string, mode fs.FileMode) { p.must(os.Chmod(path, mode)) }

// What is asked of a place.
const (
	file = iota
	folder
	open
	read
	fileByLink   // of the file
	fileThrough  // a link to its folder
	folderByLink // of the folder
	openByLink
	readByLink
	questions
)

func (p *place) ask(question int) error {
	switch question {
	case file:
		return owned.File(p.file)
	case fileByLink:
		return owned.File(p.fileLink)
	case fileThrough:
		return owned.File(p.through)
	case folder:
		return owned.Folder(p.folder)
	case folderByLink:
		return owned.Folder(p.folderLink)
	case open, openByLink:
		path := p.folder
		if question == openByLink {
			path = p.folderLink
		}
		d, err := (owned.Place{Path: path}).Open()
		if err == nil {
			err = d.Close()
		}
		return err
	}
	path := p.file
	if question == readByLink {
		path = p.fileLink
	}
	text, err := owned.ReadFile(path)
	if err == nil && string(text) != "text" {
		p.t.Errorf("read %q", text)
	}
	return err
}

// S37: what each question says of each way in which a place can be open to others.
func TestS37Places(t *testing.T) {
	const all = 1<<questions - 1
	only := func(questions ...int) (set int) {
		for _, q := range questions {
			set |= 1 << q
		}
		return set
	}
	reads := only(read, readByLink)
	opens := only(open, openByLink)
	if runtime.GOOS != "linux" {
		opens = 0 // what is above counts there, too
	}
	for _, c := range []struct {
		name    string
		spoil   func(p *place)
		refused int // the questions to which the answer is no
		want    string
	}{
		{"good", func(*place) {}, 0, ""},
		{"readable by all", func(p *place) { p.mode(p.file, 0o644); p.mode(p.folder, 0o755); p.mode(p.above, 0o755) }, 0, ""},
		{
			"file writable by all", func(p *place) { p.mode(p.file, 0o602) },
			only(file, fileByLink, fileThrough) | reads, "o-w ",
		},
		{"folder writable by all", func(p *place) { p.mode(p.folder, 0o777) }, all &^ reads, "o-w "},
		{
			"folder writable by all, and sticky", func(p *place) { p.mode(p.folder, 0o777|fs.ModeSticky) }, all &^ reads,
			"o-w ",
		},
		{"above writable by all", func(p *place) { p.mode(p.above, 0o777) }, all &^ reads &^ opens, "o-w "},
		{"above writable by all, and sticky", func(p *place) { p.mode(p.above, 0o777|fs.ModeSticky) }, 0, ""},
		{
			"file of another", func(p *place) { p.give(p.file) }, only(file, fileByLink, fileThrough) | reads,
			"belongs to user 4711",
		},
		{"pipe of another", func(p *place) {
			p.must(os.Remove(p.file))
			p.must(syscall.Mkfifo(p.file, 0o644))
			p.give(p.file)
		}, only(file, fileByLink, fileThrough) | reads, "belongs to user 4711"},
		{"folder of another", func(p *place) { p.give(p.folder) }, all &^ reads, "belongs to user 4711"},
		{"above of another", func(p *place) { p.give(p.above) }, all &^ reads &^ opens, "belongs to user 4711"},
		{
			"above of another, and sticky", func(p *place) { p.give(p.above); p.mode(p.above, 0o755|fs.ModeSticky) },
			all &^ reads &^ opens, "belongs to user 4711",
		},
		{
			"link of another to the file", func(p *place) { p.give(p.fileLink) }, only(fileByLink, readByLink),
			"belongs to user 4711",
		},
		{
			"link of another to the folder", func(p *place) { p.give(p.folderLink) },
			only(fileThrough, folderByLink, openByLink), "belongs to user 4711",
		},
		{"group of others", func(p *place) {
			p.give(p.file)
			p.must(os.Lchown(p.file, os.Geteuid(), stranger))
			p.mode(p.file, 0o660)
		}, only(file, fileByLink, fileThrough) | reads, "writable by group 4711, so others could change it: chmod g-w"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			c.spoil(p)
			for q := range questions {
				err := p.ask(q)
				if refused := c.refused&(1<<q) != 0; refused != (err != nil) || err != nil &&
					!strings.Contains(err.Error(), c.want) {
					t.Errorf("question %d: got %v, want refused: %t, %q", q, err, refused, c.want)
				}
			}
		})
	}
}

// A link that goes up from a folder which is reached by a link goes up from where that leads to.
func TestLinksThatGoUp(t *testing.T) {
	p := newPlace(t)
	p.must(os.WriteFile(filepath.Join(p.above, "file"), nil, 0o600))
	p.must(os.Symlink("../file", filepath.Join(p.folder, "up")))
	p.must(owned.File(filepath.Join(p.folderLink, "up")))
	p.mode(filepath.Join(p.above, "file"), 0o602)
	if err := owned.File(filepath.Join(p.folderLink, "up")); err == nil {
		t.Error("the wrong file is looked at")
	}
}

func TestLinksInCircles(t *testing.T) {
	p := newPlace(t)
	circle := filepath.Join(filepath.Dir(p.above), "circle")
	p.must(os.Symlink(circle, circle))
	for _, err := range []error{owned.File(circle), owned.Folder(circle)} {
		if err == nil || !strings.Contains(err.Error(), "too many links") {
			t.Error(err)
		}
	}
}

// S37: no folder is made where another user's link leads.
func TestS37MakeFollowsNoLinksOfOthers(t *testing.T) {
	p := newPlace(t)
	made := filepath.Join(p.folder, "a", "b")
	d, err := (owned.Place{Path: filepath.Join(p.folderLink, "a", "b")}).Make()
	p.must(err)
	p.must(d.Close())
	p.must(os.RemoveAll(filepath.Dir(made)))
	p.give(p.folderLink)
	if _, err := (owned.Place{Path: filepath.Join(p.folderLink, "a", "b")}).Make(); err == nil ||
		!strings.Contains(err.Error(), "belongs to user 4711") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(made)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// S37: in a folder nothing is opened that leads elsewhere or is another's, and nothing of that
// changes.
func TestS37FilesInAFolder(t *testing.T) {
	for _, c := range []struct {
		name, want string
		plant      func(p *place, path string)
	}{
		{"none", "", func(*place, string) {}},
		{"one from before", "", func(p *place, path string) { p.must(os.WriteFile(path, nil, 0o666)) }},
		{"link", "is a symbolic link", func(p *place, path string) { p.must(os.Symlink(p.fileLink, path)) }},
		{"link to nothing", "is a symbolic link", func(p *place, path string) { p.must(os.Symlink(p.above+"/none", path)) }},
		{"of another", "belongs to user 4711", func(p *place, path string) {
			p.must(os.WriteFile(path, nil, 0o600))
			p.give(path)
		}},
		{"folder", "is a directory", func(p *place, path string) { p.must(os.Mkdir(path, 0o700)) }},
		{"pipe", "it is not a file", func(p *place, path string) { p.must(syscall.Mkfifo(path, 0o600)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			d, err := (owned.Place{Path: p.folder}).Open()
			p.must(err)
			defer d.Close()
			path := filepath.Join(p.folder, "new")
			c.plant(p, path)
			f, err := d.OpenFile("new", true)
			if c.want == "" != (err == nil) || err != nil &&
				(!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "/proc")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err == nil {
				info, err := os.Stat(path)
				if err = errors.Join(err, f.Close()); err != nil || info.Mode() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
			}
			if text, err := os.ReadFile(p.file); string(text) != "text" || err != nil {
				t.Errorf("the other file has %q, %v", text, err)
			}
			if _, err := os.Stat(p.above + "/none"); err == nil {
				t.Error("a file was made elsewhere")
			}
		})
	}
}

func TestS37Tree(t *testing.T) {
	for _, c := range []struct {
		name, want string
		plant      func(p *place, path string)
	}{
		{"good", "", func(p *place, path string) { p.must(os.WriteFile(path, []byte("1234"), 0o600)) }},
		{"link", "a/b/c is a symbolic link", func(p *place, path string) { p.must(os.Symlink(p.fileLink, path)) }},
		{
			"of another", "a/b/c belongs to user 4711",
			func(p *place, path string) { p.must(os.Mkdir(path, 0o700)); p.give(path) },
		},
		{"writable by all", "a/b/c is writable by everybody", func(p *place, path string) {
			p.must(os.Mkdir(path, 0o700))
			p.mode(path, 0o777)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.must(os.MkdirAll(filepath.Join(p.folder, "a", "b"), 0o700))
			p.must(os.Symlink(p.above, filepath.Join(p.folder, "beside"))) // is not looked at
			c.plant(p, filepath.Join(p.folder, "a", "b", "c"))
			d, err := (owned.Place{Path: p.folder}).Open()
			p.must(err)
			defer d.Close()
			size, err := d.CheckTree("a")
			if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), filepath.Join(p.folder, c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err == nil && size != 4 {
				t.Errorf("%d bytes", size)
			}
		})
	}
}

// S38: folders and sockets are closed to others whatever the umask.
func TestS38Umask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o177} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			p := newPlace(t)
			p.mode(p.folder, 0o755)
			defer syscall.Umask(syscall.Umask(umask))
			d, err := (owned.Place{Path: p.folder}).Make()
			p.must(err)
			defer d.Close()
			l, err := d.Listen(t.Context(), "socket")
			p.must(err)
			defer l.Close()
			info, err := os.Stat(filepath.Join(p.folder, "socket"))
			p.must(err)
			if info.Mode() != 0o600|fs.ModeSocket {
				t.Errorf("the socket is %v", info.Mode())
			}
			c, err := d.Dial(t.Context(), "socket")
			p.must(err)
			_ = c.Close()
			if umask&0o700 != 0 {
				return // what it takes from the owner is the owner's affair
			}
			made, err := (owned.Place{Path: filepath.Join(p.folder, "made")}).Make()
			p.must(err)
			p.must(made.Close())
			if info, err = os.Stat(filepath.Join(p.folder, "made")); err != nil || info.Mode() != 0o700|fs.ModeDir {
				t.Errorf("the folder is %v, %v", info.Mode(), err)
			}
		})
	}
}

// S37: nobody is let in by a socket that is another's, or none.
func TestS37Dial(t *testing.T) {
	p := newPlace(t)
	d, err := (owned.Place{Path: p.folder}).Open()
	p.must(err)
	defer d.Close()
	if _, err := d.Dial(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := d.Dial(t.Context(), "file"); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Error(err)
	}
	l, err := d.Listen(t.Context(), "socket")
	p.must(err)
	defer l.Close()
	p.must(os.Symlink("socket", filepath.Join(p.folder, "link")))
	if _, err := d.Dial(t.Context(), "link"); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Error(err)
	}
	p.give(filepath.Join(p.folder, "socket"))
	if _, err := d.Dial(t.Context(), "socket"); err == nil || !strings.Contains(err.Error(), "belongs to user 4711") {
		t.Error(err)
	}
}

// S37: who may read a folder, and locks it, keeps a bridge from nothing.
func TestS37StrangersLock(t *testing.T) {
	at := owned.Place{Path: t.TempDir()}
	theirs, err := os.Open(at.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := syscall.Flock(int(theirs.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // whose ten seconds are none
		if secret, err := at.Secret(t.Context(), "token", true); err != nil || secret == "" {
			t.Errorf("%q, %v", secret, err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if secret, err := at.Secret(ctx, "other", true); !errors.Is(err, context.Canceled) || secret != "" {
		t.Errorf("%q, %v", secret, err)
	}
}

// S37: a secret that several make in the same instant is one.
func TestS37OneSecret(t *testing.T) {
	for range 500 {
		const starting = 8
		at, secrets := owned.Place{Path: t.TempDir()}, make(chan string, starting)
		for range starting {
			go func() {
				text, err := at.Secret(t.Context(), "token", true)
				if err != nil {
					t.Error(err)
				}
				secrets <- text
			}()
		}
		first := <-secrets
		for range starting - 1 {
			if other := <-secrets; other != first {
				t.Fatalf("%q and %q", first, other)
			}
		}
	}
}
