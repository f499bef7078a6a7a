package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// folder is where a sink writes; nothing outside of it can be reached.
type folder struct {
	root *os.Root
	dir  string
	sync bool // make new names durable
}

func openFolder(dir string, sync bool) (*folder, error) {
	err := makeFolder(filepath.Clean(dir), sync)
	if err != nil {
		err = fmt.Errorf("make folder: %w", err)
	} else {
		var root *os.Root
		if root, err = os.OpenRoot(dir); err == nil {
			return &folder{root, dir, sync}, nil
		}
		err = fmt.Errorf("open folder: %w", err)
	}
	if namesNoFile(err) {
		err = &nameError{err}
	}
	return nil, err
}

// makeFolder makes a folder and those that lead to it, durable if sync is true.
func makeFolder(dir string, sync bool) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent, sync); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil // by somebody else meanwhile; opening it will tell if it is no folder
	}
	if err != nil || !sync {
		return err
	}
	in, err := os.Open(parent)
	if err != nil {
		return err
	}
	return syncFolder(in)
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
		if text, err = filepath.EvalSymlinks(text); err != nil {
			return "", "", fmt.Errorf("follow link: %w", err)
		}
	}
	dir, name = filepath.Split(text)
	return dir, name, nil
}

// nameError says that no file can have a name, whatever is done on the disk.
type nameError struct{ error }

func (e *nameError) Unwrap() error { return e.error }

func isNameError(err error) bool {
	_, is := errors.AsType[*nameError](err)
	return is
}

// name returns the part of a rendered path behind the folder. An error is a
// nameError: the path would leave the folder.
func (d *folder) name(path, dir string) (string, error) {
	name := filepath.FromSlash(path[len(dir):])
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return "", &nameError{fmt.Errorf("path %q leaves the folder %q", path, d.dir)}
	}
	return filepath.Clean(name), nil
}

// open opens a file to append to, and makes it and its folders as necessary.
// An error that lies in the name is a nameError.
func (d *folder) open(name string) (f *os.File, created bool, err error) {
	f, err = d.root.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		created = true
		if parent := filepath.Dir(name); parent != "." {
			err = d.root.MkdirAll(parent, 0o700)
		} else {
			err = nil
		}
		if err == nil {
			f, err = d.root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
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
	err = fmt.Errorf("open %q in folder %q: %w", name, d.dir, err)
	if namesNoFile(err) {
		err = &nameError{err}
	}
	return nil, false, err
}

// namesNoFile reports whether err lies in the name, and not in the state of the
// disk: os.Root's refusal has no error number.
func namesNoFile(err error) bool {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return true
	}
	switch number {
	case syscall.ENAMETOOLONG, syscall.EISDIR, syscall.ENOTDIR, syscall.ELOOP, syscall.EINVAL:
		return true
	default:
		return false
	}
}

// syncNames makes the entries that lead to name durable.
func (d *folder) syncNames(name string) error {
	for d.sync && name != "." {
		name = filepath.Dir(name)
		dir, err := d.root.Open(name)
		if err == nil {
			err = syncFolder(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes the names in a folder durable and closes it.
func syncFolder(dir *os.File) error {
	defer func() { _ = dir.Close() }()
	if runtime.GOOS == "windows" {
		return nil // has no such thing
	}
	return dir.Sync()
}
