package nats_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// newLine starts a TCP proxy to address. After silence nothing comes back any
// more: connections stay open and take what is sent.
func newLine(t *testing.T, address string) (own string, silence func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var silent bool
	var open []net.Conn
	var copies sync.WaitGroup
	pass := func(to io.Writer, from io.Reader, back bool) {
		for buf := make([]byte, 4096); ; {
			n, err := from.Read(buf)
			mu.Lock()
			drop := silent && back
			mu.Unlock()
			if err != nil {
				return
			}
			if drop {
				continue
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	copies.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", address)
			if err != nil {
				_ = here.Close()
				continue
			}
			mu.Lock()
			open = append(open, here, there)
			mu.Unlock()
			copies.Go(func() { pass(there, here, false) })
			copies.Go(func() { pass(here, there, true) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		copies.Wait()
	})
	return l.Addr().String(), func() {
		mu.Lock()
		defer mu.Unlock()
		silent = true
	}
}
