package faulttest_test

import (
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

const silence = 30 * time.Millisecond // in which something must not happen

// server listens and hands over what it accepts.
type server struct {
	net.Listener
	accepted chan *net.TCPConn
}

func newServer(t *testing.T) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: ln, accepted: make(chan *net.TCPConn, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.accepted <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return s
}

func (s *server) addr() string { return s.Addr().String() }

// accept returns the next connection.
func (s *server) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	select {
	case c := <-s.accepted:
		return own(t, c)
	case <-time.After(bridgetest.Timeout):
		t.Fatal("no connection came")
		return nil
	}
}

func own(t *testing.T, c *net.TCPConn) *net.TCPConn {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(bridgetest.Timeout)); err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return own(t, c.(*net.TCPConn))
}

// pair is a connection through a proxy.
func pair(t *testing.T, f faulttest.Fault) (p *faulttest.Proxy, client, srv *net.TCPConn) {
	t.Helper()
	s := newServer(t)
	p = faulttest.NewProxy(t, s.addr())
	p.Set(f)
	client = dial(t, p.Addr())
	return p, client, s.accept(t)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, not %q", got[:n], err, want)
	}
}

// quiet fails if anything arrives.
func quiet(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(silence))
	n, err := c.Read(make([]byte, 1))
	if e, ok := err.(net.Error); n > 0 || !ok || !e.Timeout() {
		t.Fatalf("read %d bytes, %v, and not nothing", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(bridgetest.Timeout))
}

// ends waits for an error of a read, after any bytes.
func ends(t *testing.T, c net.Conn) error {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return io.EOF
}

func transferred(t *testing.T, p *faulttest.Proxy, up, down int64) {
	t.Helper()
	if u, d := p.Transferred(); u != up || d != down {
		t.Errorf("%d bytes up and %d down were transferred, not %d and %d", u, d, up, down)
	}
}

// numbered is n bytes of which each part says where it is.
func numbered(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), ',')
	}
	return b[:n]
}
