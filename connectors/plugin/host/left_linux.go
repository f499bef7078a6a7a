package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killLeft ends processes that were started with a socket in the folder: grandchildren of a host that was
// killed, whom nobody told.
func killLeft(folder string) {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		text, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(text, []byte(socketVariable+"="+folder+string(filepath.Separator))) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
