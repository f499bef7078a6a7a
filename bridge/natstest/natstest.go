// Package natstest runs NATS servers in the process of a test.
package natstest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// Start runs a server with JetStream on a port of its own until the test ends. set may change its
// options before that. If it does not come up, what it says is in the test's failure.
func Start(tb testing.TB, set func(*server.Options)) *server.Server {
	tb.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, JetStream: true, StoreDir: tb.TempDir(),
		AuthTimeout: bridgetest.Timeout.Seconds(), // a busy machine may take longer than two
	}
	if set != nil {
		set(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	said := new(complaints)
	s.SetLoggerV2(said, false, false, false)
	tb.Cleanup(func() { Stop(s) })
	s.Start()
	if !s.ReadyForConnections(bridgetest.Timeout) {
		tb.Fatalf("the NATS server does not come up: %v", said)
	}
	return s
}

// Stop ends a server, and waits until it has.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// complaints is a [server.Logger] that keeps what is wrong.
type complaints struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *complaints) keep(format string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(&c.text, format+"\n", v...)
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *complaints) Fatalf(format string, v ...any) { c.keep(format, v...) }
func (c *complaints) Errorf(format string, v ...any) { c.keep(format, v...) }
func (c *complaints) Warnf(format string, v ...any)  { c.keep(format, v...) }
func (*complaints) Noticef(string, ...any)           {}
func (*complaints) Debugf(string, ...any)            {}
func (*complaints) Tracef(string, ...any)            {}
