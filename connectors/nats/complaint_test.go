package nats_test

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// standIn starts a server that says what answer returns to each line, for what no real one can be
// made to show. It returns the settings of a sink for it.
func standIn(t *testing.T, answer func(line string) string) *nats.SinkSettings {
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
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Write([]byte("INFO {\"server_id\":\"x\",\"version\":\"2.12.0\",\"headers\":true,\"max_payload\":1048576}\r\n"))
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					for part := range strings.SplitAfterSeq(answer(line), "\n") { // one after the other, as servers do
						_, _ = c.Write([]byte(part))
					}
				}
			}()
		}
	}()
	set := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	set.URL, set.Subject = url(t, "nats://"+l.Addr().String()), bridge.Text("s")
	return set
}

// A server may complain with its first words, before whoever connects has the connection.
func TestServerComplainsAtOnce(t *testing.T) {
	set := standIn(t, func(line string) string {
		if line == "PING\r\n" {
			return "PONG\r\n-ERR 'Permissions Violation for Publish to \"s\"'\r\n"
		}
		return ""
	})
	for range 500 {
		s, err := nats.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
		if err == nil {
			_, err = s.Write(t.Context(), bridge.Batch{{Payload: []byte("x")}})
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "ermissions Violation") {
			t.Fatalf("got %v, want what the server said", err)
		}
	}
}

// What stands between may have taken all of a message, and need longer for it than an answer may
// take.
func TestLineThatHoldsAllIsNotADeadOne(t *testing.T) {
	t.Parallel()
	set := standIn(t, func(line string) string {
		switch {
		case line == "PING\r\n":
			return "PONG\r\n"
		case strings.HasPrefix(line, "PUB "):
			<-time.After(12 * time.Second)
		}
		return ""
	})
	deliverAll(t, openSink(t, set), bridge.Batch{{Payload: make([]byte, 400_000)}})
}
