package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// folder is where a sink writes; nothing outside of it can be reached.
type folder struct {
	root *os.Root
	dir  string
	sync bool        // make new names durable
	mode fs.FileMode // of new files; 0: nobody else has access
}

// openFolder opens a folder, and makes it and those that lead to it as necessary.
func openFolder(dir string, sync bool, mode fs.FileMode) (*folder, error) {
	there, missing := filepath.Clean(dir), "."
	for parent := filepath.Dir(there); parent != there; there, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(there); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = filepath.Join(filepath.Base(there), missing)
	}
	root, err := owned.OpenRoot(there)
	d := &folder{root, dir, sync, mode}
	if err == nil && missing != "." {
		err = cmp.Or(d.makeFolder(missing), d.syncNames(missing), root.Close())
		if err == nil {
			d.root, err = owned.OpenRoot(dir)
		}
	}
	if err != nil {
		err = fmt.Errorf("open folder: %w", err)
		if !errors.Is(err, fs.ErrNotExist) { // it may have been exchanged
			err = inName(err)
		}
		return nil, err
	}
	return d, nil
}

// split returns the folder that a path template names before its first
// {{, and the name in it if the path is constant.
func split(path bridge.Template) (dir, name string, err error) {
	text, constant := path.Constant()
	if !constant {
		dir = text[:strings.LastIndexByte(text, '/')+1]
		return dir, "", nil
	}
	if info, err := os.Lstat(text); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		// The user who wrote the path may follow links where message data may not.
		link := text
		if text, err = filepath.EvalSymlinks(link); err == nil {
			if info, err = os.Stat(text); err == nil {
				err = bridge.Permanent(owned.Reached(link, info))
			}
		}
		if err != nil {
			return "", "", fmt.Errorf("follow link: %w", err)
		}
	}
	dir, name = filepath.Split(text)
	return dir, name, nil
}

// nameError says that no file can have a name, whatever is done on the disk.
type nameError struct{ error }

func (e *nameError) Unwrap() error { return e.error }

// inName makes err a nameError if it lies in the name, and not in the state of the disk: os.Root's
// refusal has no error number.
func inName(err error) error {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		switch number {
		case syscall.ENAMETOOLONG, syscall.EISDIR, syscall.ENOTDIR, syscall.ELOOP, syscall.EINVAL:
		default:
			return err
		}
	}
	return &nameError{err}
}

func isNameError(err error) bool {
	_, is := errors.AsType[*nameError](err)
	return is
}

// What a message may choose behind the folder. Beyond these it makes folders without end, names
// that no file system has, or such as look like something else in a list of files.
const (
	mostFolders = 32
	mostBytes   = 1024
	mostOfPart  = 255
)

// name returns the part of a rendered path behind the folder. An error is a
// nameError: the path would leave the folder, or is none that a message may choose.
func (d *folder) name(path, dir string) (string, error) {
	name := filepath.FromSlash(path[len(dir):])
	if !filepath.IsLocal(name) {
		return "", &nameError{fmt.Errorf("path %.100q leaves the folder %q", path, d.dir)}
	}
	name = filepath.Clean(name)
	parts := strings.Split(name, string(filepath.Separator))
	long := func(part string) bool { return len(part) > mostOfPart }
	var wrong string
	switch {
	case strings.ContainsFunc(name, controls):
		wrong = "has a control character"
	case len(parts) > mostFolders+1:
		wrong = fmt.Sprintf("has %d folders within %q, and %d are the most", len(parts)-1, d.dir, mostFolders)
	case len(name) > mostBytes:
		wrong = fmt.Sprintf("has %d bytes behind %q, and %d are the most", len(name), d.dir, mostBytes)
	case slices.ContainsFunc(parts, long):
		wrong = fmt.Sprintf("has a name of more than %d bytes", mostOfPart)
	default:
		return name, nil
	}
	return "", &nameError{fmt.Errorf("path %.100q %s", path, wrong)}
}

// controls reports whether r ends a line, or tells a terminal what to do or in which direction to
// write.
func controls(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// open opens a file to append to, and makes it and its folders as necessary.
// An error that lies in the name is a nameError.
func (d *folder) open(name string) (f *os.File, created bool, err error) {
	f, err = d.root.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		created = true
		if err = d.makeFolder(filepath.Dir(name)); err == nil {
			f, err = d.root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		}
		if err == nil && d.mode != 0 {
			err = f.Chmod(d.mode)
		}
		if err == nil {
			if err = d.syncNames(name); err != nil {
				_ = d.root.Remove(name) // so that it counts as new again
			}
		}
	}
	if err == nil {
		return f, created, nil
	}
	if f != nil {
		_ = f.Close()
	}
	mend := ""
	if errors.Is(err, syscall.EISDIR) {
		mend = fmt.Sprintf(": name a file in it, such as %s/messages.txt", name)
	}
	return nil, false, inName(fmt.Errorf("open %q in folder %q: %w%s", name, d.dir, err, mend))
}

// makeFolder makes a folder, and those that lead to it.
func (d *folder) makeFolder(name string) error {
	if _, err := d.root.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := d.makeFolder(filepath.Dir(name))
	if err == nil {
		err = d.root.Mkdir(name, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // by somebody else meanwhile
	}
	if err == nil && d.mode != 0 {
		err = d.root.Chmod(name, folderMode(d.mode))
	}
	return err
}

// folderMode lets whoever may read files of that mode find them.
func folderMode(mode fs.FileMode) fs.FileMode { return 0o700 | mode | mode&0o444>>2 }

// syncNames makes the entries that lead to name durable.
func (d *folder) syncNames(name string) error {
	for d.sync && name != "." && runtime.GOOS != "windows" { // which has no such thing
		name = filepath.Dir(name)
		dir, err := d.root.Open(name)
		if err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
