//go:build unix

package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkModes refuses a program that others could exchange.
func checkModes(path string, info fs.FileInfo) error {
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("the file %s is not executable: chmod u+x it", path)
	}
	if err := checkMode(path, info); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	folder, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("find plugin: %w", err)
	}
	if folder.Mode()&fs.ModeSticky != 0 {
		return nil // others can add files, and not exchange this one
	}
	return checkMode(dir, folder)
}

// checkMode refuses what everybody can write to, or a group that is not the user's own.
func checkMode(path string, info fs.FileInfo) error {
	mode := info.Mode()
	if mode&0o002 != 0 {
		return fmt.Errorf("%s is writable by everybody, so anybody could exchange the plugin: chmod o-w it", path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && mode&0o020 != 0 && int(s.Gid) != os.Getegid() {
		return fmt.Errorf("%s is writable by group %d, so others could exchange the plugin: chmod g-w it", path, s.Gid)
	}
	return nil
}
