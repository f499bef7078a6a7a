//go:build unix

package bridgetest

import (
	"syscall"
	"time"
)

// CPU returns the time that processors have given this process: a busy machine costs none of it.
func CPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
