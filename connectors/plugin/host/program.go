package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// locate returns the program itself, which must be a file that nobody else can change or exchange.
func locate(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find plugin: %w", err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", missing(abs)
	}
	if err != nil {
		return "", fmt.Errorf("find plugin: %w", err)
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return "", fmt.Errorf("find plugin: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("find plugin: %s is not a file", real)
	case info.Mode()&0o111 == 0 && runtime.GOOS != "windows":
		return "", fmt.Errorf("find plugin: the file %s is not executable: chmod u+x it", real)
	}
	if err := owned.File(abs); err != nil { // and not of real: a link could be exchanged, too
		return "", fmt.Errorf("find plugin: %w", err)
	}
	return real, nil
}

// missing says that there is no program, and how to build it if its source seems to be there.
func missing(path string) error {
	folder := filepath.Dir(path)
	if err := unbuilt(path); err != nil {
		return err
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("find plugin: there is no folder %s", folder)
	}
	return fmt.Errorf("find plugin: there is no program %s", path)
}

// unbuilt says how to build a program if there is what builds it, and returns nil otherwise.
func unbuilt(path string) error {
	for file, command := range map[string]string{
		"build.sh":     "./build.sh",
		"package.json": "npm install --ignore-scripts && npm run build",
	} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), file)); err == nil {
			return fmt.Errorf("find plugin: the program %s is not built yet: run %s in its folder", path, command)
		}
	}
	return nil
}

// Sum returns the SHA-256 checksum of the program at path in hexadecimal digits, as sha256: wants
// it.
func Sum(path string) (string, error) {
	path, err := locate(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("find plugin: %w", err)
	}
	defer func() { _ = f.Close() }()
	return sum(f, io.Discard)
}

func sum(from io.Reader, to io.Writer) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, h), from); err != nil {
		return "", fmt.Errorf("read plugin: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// errChecksum says that a program is not the one that was locked.
var errChecksum = errors.New("the program does not have the checksum in sha256:, so it is not started")

// copyLocked copies the program at path to the new file to, which only this user can read, and
// removes it again if it has not that checksum. What is summed is what is copied, so a program that
// is swapped in between is noticed.
func copyLocked(path, to, want string) (err error) {
	from, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read plugin: %w", err)
	}
	defer func() { _ = from.Close() }()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy plugin: %w", err)
	}
	got, err := sum(from, f)
	if err == nil && !strings.EqualFold(got, want) {
		err = fmt.Errorf("%w: it has %s; after a wanted update, xrtcbridge plugins lock writes the new one", errChecksum, got)
	}
	if err == nil {
		err = f.Chmod(0o500)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
