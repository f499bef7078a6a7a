//go:build unix

package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Hosts that start at the same time clear away what died, and never each other's folders. The name
// is short, since it is part of the path.
func TestFolders(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var hosts sync.WaitGroup
	for range 8 {
		hosts.Go(func() {
			for range 100 {
				f, err := newFolder()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(f.path); err != nil {
					t.Error(err)
				}
				if err := f.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	hosts.Wait()
}

// The path of a socket has a hundred bytes or so, beyond which a plugin says "invalid argument".
func TestFolderThatIsTooLong(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), strings.Repeat("x", 40))
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	if f, err := newFolder(); err == nil || !strings.Contains(err.Error(), "set TMPDIR to a shorter path") {
		t.Errorf("got %v, %v", f, err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// S41: what is cleared away is this user's, was made by a host, and is no link.
func TestS41SweepOfHosts(t *testing.T) {
	tmp := t.TempDir()
	precious := filepath.Join(tmp, "precious")
	for _, c := range []struct {
		name  string
		swept bool
		plant func(path string) error // of a folder with a lock of a host that is gone
	}{
		{"of a host that is gone", true, func(string) error { return nil }},
		{"with a link in it", true, func(path string) error { return os.Symlink(precious, filepath.Join(path, "link")) }},
		{"no folder", false, func(path string) error {
			return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600))
		}},
		{"a link to a folder", false, func(path string) error {
			return errors.Join(os.Rename(path, path[:len(path)-1]), os.Symlink(path[:len(path)-1], path))
		}},
		{"no lock", false, func(path string) error { return os.Remove(filepath.Join(path, lockName)) }},
		{"a lock that is a link", false, func(path string) error {
			lock := filepath.Join(path, lockName)
			return errors.Join(os.Rename(lock, lock+"ed"), os.Symlink(lock+"ed", lock))
		}},
		{"another lock", false, func(path string) error {
			return os.WriteFile(filepath.Join(path, lockName),
				[]byte("mine\n"), 0o600)
		}},
		{"an empty lock", false, func(path string) error { return os.Truncate(filepath.Join(path, lockName), 0) }},
		{"writable by others", false, func(path string) error { return os.Chmod(path, 0o777) }},
		{"another user's", false, func(path string) error {
			if os.Geteuid() != 0 {
				return os.Remove(filepath.Join(path, lockName)) // only root can give it away
			}
			return errors.Join(os.Chown(path, 4711, 4711), os.Chown(filepath.Join(path, lockName), 4711, 4711))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(tmp, folderPattern+"12345")
			err := errors.Join(os.RemoveAll(precious), os.RemoveAll(path), os.Mkdir(precious, 0o700),
				os.WriteFile(filepath.Join(precious, "file"), nil, 0o600), os.Mkdir(path, 0o700))
			if err != nil {
				t.Fatal(err)
			}
			lock, err := claim(filepath.Join(path, lockName))
			if err = errors.Join(err, lock.Close(), c.plant(path)); err != nil {
				t.Fatal(err)
			}
			sweep(tmp)
			if _, err := os.Lstat(path); (err != nil) != c.swept {
				t.Errorf("swept: %v, want %t", err, c.swept)
			}
			if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
				t.Error(err)
			}
		})
	}
}

// S39: a private folder is not made where others could exchange it.
func TestS39PrivateFolder(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for mode, want := range map[os.FileMode]string{
		0o700: "", 0o755: "", 0o777 | os.ModeSticky: "", 0o777: "; TMPDIR says where temporary files are",
	} {
		if err := os.Chmod(tmp, mode); err != nil {
			t.Fatal(err)
		}
		f, err := newFolder()
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", mode, err, want)
		}
		if f != nil {
			if err := f.remove(); err != nil {
				t.Error(err)
			}
		}
		if left, err := os.ReadDir(tmp); len(left) > 0 || err != nil {
			t.Errorf("%v is left, %v", left, err)
		}
	}
}
