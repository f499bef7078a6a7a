//go:build !unix

package owned

import (
	"io/fs"
	"os"
	"syscall"
)

const noWait, noFollow = 0, 0

const owners = false

func stranger(fs.FileInfo) (user uint32, other bool) { return 0, false }

func writers(fs.FileInfo) (group string, all bool) { return "", false }

func usable(string, bool) error { return nil }

func privateSocket(_, _ string, _ syscall.RawConn) error { return nil }

func lock(*os.File) bool { return true }

func unlock(*os.File) {}
