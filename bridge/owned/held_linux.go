package owned

import (
	"fmt"
	"os"
)

// heldPath returns a path of an open folder that nobody can lead elsewhere, or nothing if there is
// no /proc.
func heldPath(f *os.File) string {
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	here, err := f.Stat()
	if err != nil {
		return ""
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(here, there) {
		return ""
	}
	return path
}
