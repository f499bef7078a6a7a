package bridgetest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

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
