package owned

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// mostSecret is more bytes than a password has.
const mostSecret = 4096

// Secret returns what the file in the folder holds, which only this user can read and write, unless
// the place is shared. If create, one that is not there is made, with a random text; else that is
// no error, and neither is a place without a path.
func (p Place) Secret(ctx context.Context, file string, create bool) (string, error) {
	if p.Path == "" {
		return "", nil
	}
	open := p.Open
	if create {
		open = p.Make
	}
	dir, err := open()
	var f *os.File
	if err == nil {
		defer func() { _ = dir.Close() }()
		if create { // nobody else makes it meanwhile
			unlocked, err := dir.Lock(ctx)
			if err != nil {
				return "", err
			}
			defer unlocked()
		}
		if f, err = dir.OpenFile(file, false); errors.Is(err, fs.ErrNotExist) && create {
			f, err = dir.OpenFile(file, true)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return "", nil
	case err != nil:
		return "", err
	}
	defer func() { _ = f.Close() }()
	if err := p.keepPrivate(f, dir); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, mostSecret))
	secret := strings.TrimSpace(string(text))
	if err != nil || secret != "" || !create {
		return secret, err
	}
	secret = rand.Text()
	_, err = f.WriteString(secret + "\n")
	return secret, errors.Join(err, f.Sync())
}

// keepPrivate refuses a file that others may read or write, unless its place is shared. Where they
// cannot have reached it, since the folder is closed to them, its mode is mended instead: what
// mounts volumes, and restores backups, changes modes of files.
func (p Place) keepPrivate(f *os.File, dir *Dir) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&0o077 == 0 || p.Shared || runtime.GOOS == "windows" { // whose modes say nothing
		return err
	}
	if dir.Private() {
		return f.Chmod(0o600)
	}
	cures := "remove it, and a new one is made, or chmod 600 it if nobody has"
	if p.Setting != "" {
		cures += "; where others share its folder on purpose, write " + p.Setting
	}
	return errors.New("others may read or write it: " + cures)
}
