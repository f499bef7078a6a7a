package bridgetest_test

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// A server may come and go at a free address, at which nobody is connected to meanwhile, and the
// system takes the port for one that is in use.
func TestFreeAddrStaysFree(t *testing.T) {
	addr := bridgetest.FreeAddr(t)
	given := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		}), err)
	}}
	for range 3 {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v, %v, want that nobody is there", c, err)
		}
		if l, err := given.Listen(t.Context(), "tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen as somebody else: %v, %v, want that it is in use", l, err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A copy of a listener, as a process has that is being started, is waited for.
func TestVacateWaitsForCopies(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	copied, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	var gone atomic.Bool
	time.AfterFunc(50*time.Millisecond, func() {
		gone.Store(true)
		_ = copied.Close()
	})
	bridgetest.Vacate(t, l)
	if !gone.Load() {
		t.Error("somebody has it still")
	}
	if l, err = net.Listen("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
