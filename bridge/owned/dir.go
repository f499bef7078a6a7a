package owned

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Place is a folder to be opened, or a file to be read.
type Place struct {
	Path string

	// Shared says that others may own it and what is in it, and write to it: neither owners
	// nor modes are looked at, but no symbolic link of others is followed, and none is in it.
	Shared bool
	// Setting is what sets Shared, for errors; empty: nothing does.
	Setting string
}

// Dir is an open folder of this very user, or a shared one.
type Dir struct {
	place  Place
	path   string
	f      *os.File
	asks   bool // see Visit
	visits bool // it asks, and is root
}

// Open opens the folder, which must belong to this user and be writable by nobody else, unless it
// is shared. It stays the folder that was opened, even if whoever has one above it moves it away;
// where the system cannot do that, [Folder] must hold.
func (p Place) Open() (*Dir, error) { return p.open(false) }

// Visit is Open to look at what is there and call [Dir.Dial], and nothing else. It lets root in
// whoever owns the folder, since nothing is made or changed there, no link of others is followed,
// and who connects tells nothing that the owner may not know. For everybody else it is Open, but
// for the errors: who merely asks must not take the folder from the service that it belongs to.
func (p Place) Visit() (*Dir, error) { return p.open(true) }

func (p Place) open(asks bool) (*Dir, error) {
	real, err := resolve(p.Path, checkLink)
	if err != nil {
		return nil, err
	}
	d := &Dir{place: p, path: real, asks: asks, visits: asks && os.Geteuid() == 0}
	if d.f, err = os.OpenFile(real, os.O_RDONLY|noFollow, 0); err != nil {
		return nil, d.denied(p.Path, real, err)
	}
	if err := d.check(); err != nil {
		return nil, errors.Join(err, d.f.Close())
	}
	return d, nil
}

// Make makes a folder that only this user can enter, unless it is there, and opens it.
func (p Place) Make() (*Dir, error) {
	at, err := filepath.Abs(p.Path)
	for ; err == nil; at = filepath.Dir(at) { // what is there of the way must not lead elsewhere
		if _, missing := resolve(at, checkLink); missing == nil {
			break
		} else if !errors.Is(missing, fs.ErrNotExist) {
			err = missing
		}
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.Path, 0o700); err != nil {
		return nil, err
	}
	return p.Open()
}

// checkLink refuses links of others.
func checkLink(path string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	return checkOwner(path, info)
}

func (d *Dir) check() error {
	info, err := d.f.Stat()
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", d.place.Path)
	}
	if err := d.checkMine(d.place.Path, info, true); err != nil {
		return err
	}
	if held := heldPath(d.f); held != "" {
		d.path = held
		return nil
	}
	if d.place.Shared || d.visits {
		return nil
	}
	return Folder(d.path)
}

// checkMine refuses what is not this user's, for which root's is not good enough, and, if modes,
// what others can write to. Of a shared folder it refuses nothing.
func (d *Dir) checkMine(path string, info fs.FileInfo, modes bool) error {
	if d.place.Shared {
		return nil
	}
	e := &OthersError{Path: path}
	if user, other := stranger(info); other && !d.visits {
		e.Why = fmt.Sprintf("belongs to user %d, and this is user %d", user, os.Geteuid())
		e.Mend, e.Theirs = d.mend(path, user), true
	} else if why, _ := writable(info); modes && why != "" {
		e.Why, e.Mend = why, "chmod -R go-w "+quote(d.place.Path)
	} else {
		return nil
	}
	return d.place.named(e)
}

// mend says what to do about something of another user. Where root comes to a folder, or somebody
// only asks, that is for the service of that user, which a chown would break.
func (d *Dir) mend(path string, owner uint32) string {
	switch me := os.Geteuid(); {
	case d.asks:
		return runAs(owner)
	case me == 0 && path == d.place.Path:
		return runAs(owner) + ", or choose another place"
	default:
		return fmt.Sprintf("chown -R %d %s, run as user %d, or choose another place", me, quote(d.place.Path), owner)
	}
}

// runAs says how to be another user.
func runAs(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	name := "'#" + number + "'"
	if u, err := user.LookupId(number); err == nil {
		name = u.Username
	}
	return "run it as that user: sudo -u " + name + " xrtcbridge …"
}

// named adds to an error of what others own or can write to the setting that allows it.
func (p Place) named(err error) error {
	if e, ok := errors.AsType[*OthersError](err); ok && p.Setting != "" && !p.Shared {
		e.Mend += "; where others share it on purpose, as by fsGroup in Kubernetes, " +
			"or its file system has no owners, write " + p.Setting
	}
	return err
}

// denied returns the error of what could not be opened: it shows the path that the user knows, and
// whose it is if that is why.
func (d *Dir) denied(shown, path string, err error) error {
	if cause, ok := errors.AsType[*fs.PathError](err); ok {
		err = &fs.PathError{Op: cause.Op, Path: shown, Err: cause.Err}
	}
	info, failed := os.Lstat(path)
	switch {
	case failed != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return linkError(shown)
	case !errors.Is(err, fs.ErrPermission):
		return err
	}
	user, other := stranger(info)
	if !other {
		return err
	}
	if others := d.checkMine(shown, info, false); others != nil {
		return others
	}
	mend := fmt.Sprintf("chown -R %d %[2]s, or, where both are in its group, chmod -R g+rwX %[2]s",
		os.Geteuid(), quote(d.place.Path))
	if d.asks {
		mend = d.mend(shown, user)
	}
	return fmt.Errorf("%w: it belongs to user %d, and this is user %d: %s", err, user, os.Geteuid(), mend)
}

// Path returns a path of the folder that is good in this process until Close.
func (d *Dir) Path() string { return d.path }

// Join returns the path of what is in the folder, good as long as that of Path.
func (d *Dir) Join(name string) string { return filepath.Join(d.path, name) }

// Lock waits until nobody else has locked the folder, and locks it until unlocked is called, where
// the system and the file system can do that. Whoever may read the folder can lock it for ever, so
// that it goes on without after ten seconds. The error is that of ctx, which is done before.
func (d *Dir) Lock(ctx context.Context) (unlocked func(), err error) {
	for patience := time.After(10 * time.Second); !lock(d.f); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-patience:
			return func() {}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() { unlock(d.f) }, nil
}

// Close closes the folder.
func (d *Dir) Close() error { return d.f.Close() }

// Private reports whether nobody else can enter the folder, whatever the modes of its files.
func (d *Dir) Private() bool {
	info, err := d.f.Stat()
	return err == nil && info.Mode().Perm()&0o077 == 0
}

// OpenFile opens a file in the folder to read and write it, and makes it if create is true. It is
// no link, and, unless the folder is shared, this user's. One that is made, or, in a folder that is
// not shared, could have been, nobody else can read.
func (d *Dir) OpenFile(name string, create bool) (*os.File, error) {
	flags := os.O_RDWR | noFollow
	if create {
		flags |= os.O_CREATE
	}
	shown := filepath.Join(d.place.Path, name)
	f, err := os.OpenFile(d.Join(name), flags, 0o600)
	if err != nil {
		return nil, d.denied(shown, d.Join(name), err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err == nil {
		err = d.checkMine(shown, info, false)
	}
	if err == nil && create && !d.place.Shared {
		err = f.Chmod(0o600) // it may be from before
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func linkError(path string) error {
	return fmt.Errorf("%s is a symbolic link, which may lead anywhere: remove it", path)
}

// CheckTree looks at the folder of that name in d and all that is in it, however deep: none may be
// a link, and each must be this user's and writable by nobody else, or, if d is shared, be readable
// and writable at least, since a server would take what it cannot read for nothing. It returns the
// bytes of the files. That there is none is no error.
func (d *Dir) CheckTree(name string) (size int64, err error) {
	err = fs.WalkDir(os.DirFS(d.path), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if top, _, _ := strings.Cut(path, "/"); top != name && entry.IsDir() {
			return fs.SkipDir
		} else if top != name {
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err != nil {
			return err
		}
		shown := filepath.Join(d.place.Path, path)
		if info.Mode()&fs.ModeSymlink != 0 {
			return linkError(shown)
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		if d.place.Shared {
			if err := usable(d.Join(path), info.IsDir()); err != nil {
				return d.denied(shown, d.Join(path), &fs.PathError{Op: "open", Path: shown, Err: err})
			}
		}
		return d.checkMine(shown, info, true)
	})
	return size, err
}

// Listen listens at a socket in the folder that nobody else can connect to, unless it is shared and
// its file system gives no modes to sockets.
func (d *Dir) Listen(ctx context.Context, name string) (net.Listener, error) {
	path := d.Join(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := (&net.ListenConfig{Control: privateSocket}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && !d.place.Shared { // where the system does not take the mode before
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Dial connects to a socket in the folder that somebody of this user listens at, or, if it is
// shared or visited by root, anybody.
func (d *Dir) Dial(ctx context.Context, name string) (net.Conn, error) {
	shown := filepath.Join(d.place.Path, name)
	info, err := os.Lstat(d.Join(name))
	if err == nil && info.Mode()&fs.ModeSocket == 0 {
		err = fmt.Errorf("%s is not a socket", shown)
	}
	if err == nil {
		err = d.checkMine(shown, info, false)
	}
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "unix", d.Join(name))
}
