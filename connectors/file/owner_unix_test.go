//go:build unix

package file_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func ownerOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(s.Uid, ":", s.Gid)
}
