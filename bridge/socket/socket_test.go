package socket_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

const patience = 6 * time.Second // and more than a busy machine stands still

// dial returns a connection, over a line that is broken as the fault says, to somebody who reads all.
func dial(t *testing.T, fault faulttest.Fault) *socket.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	proxy := faulttest.NewProxy(t, l.Addr().String())
	proxy.Set(fault)
	c, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return socket.New(c, patience)
}

func TestWriteTakesAsLongAsBytesLeave(t *testing.T) {
	t.Parallel()
	const size = 12 << 20 // more than systems keep, and longer than the patience
	c := dial(t, faulttest.Fault{Rate: 1 << 20})
	began := time.Now()
	if n, err := c.Write(make([]byte, size)); n != size || err != nil {
		t.Errorf("wrote %d bytes, err = %v", n, err)
	}
	if c.Written() != size || c.Left() > size {
		t.Errorf("%d bytes were written, %d have left", c.Written(), c.Left())
	}
	t.Logf("written in %s", time.Since(began).Round(time.Millisecond))
}

func TestWriteFailsWhenNothingLeaves(t *testing.T) {
	t.Parallel()
	c := dial(t, faulttest.Fault{BlackHole: true})
	n, err := c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 64<<20 {
		t.Errorf("wrote %d bytes, err = %v, want a time-out", n, err)
	}
	if left := c.Left(); left > int64(n) {
		t.Errorf("%d bytes have left of %d", left, n)
	}
}
