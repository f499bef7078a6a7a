package server_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func TestMain(m *testing.M) {
	if os.Getenv(memoryChild) == "" {
		goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
	}
	if err := serveInChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	memoryChild = "XRTC_TEST_MEMORY" // environment of the process whose memory is measured
	memoryMost  = 32 << 20           // its ACCOUNT_MEMORY
)

// serveInChild is the server whose memory S43 measures. It ends with its standard input.
func serveInChild() error {
	limits := server.Open()
	limits.AccountMemory = memoryMost
	s, err := xrtctest.Listen(server.Config{Limits: limits})
	if err != nil {
		return err
	}
	fmt.Println(s.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}
