package owned

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Open opens a file to read it, and waits for nobody: a pipe, which another user may have put there
// a moment ago, would wait for who writes to it.
func Open(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|noWait, 0) }

// OpenRoot is [os.OpenRoot] of a folder that was reached as [Reached] wants it, so that nothing is
// made where a link of another user leads.
func OpenRoot(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil {
		err = Reached(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// WriteFile is [os.WriteFile] of a file that is reached as [Reached] wants it. At the end of a link
// it makes none.
func WriteFile(path string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|noWait, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = create(path, mode)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := Reached(path, info); err != nil && (info.Mode().IsRegular() || !unnamed(err)) {
		return err
	}
	if info.Mode().IsRegular() {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	_, err = f.Write(text)
	return err
}

// unnamed reports whether err is of a link in /proc to what has no name, as /dev/stdout leads to a
// pipe: nobody else has put that there.
func unnamed(err error) bool {
	at, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(at.Path, "/proc/")
}

func create(path string, mode fs.FileMode) (*os.File, error) {
	in := filepath.Dir(path)
	if _, err := resolve(in, checkLink); err != nil { // as what is made there would not be theirs
		return nil, err
	}
	folder, err := OpenRoot(in)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	f, err := folder.OpenFile(filepath.Base(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		err = linkError(path)
	}
	return f, err
}
