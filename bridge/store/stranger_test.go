package store_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// S56: a bridge that is asked for its state, as one of another user may be, neither ends the process
// nor takes its memory, whatever it says there.
func TestS56StateOfAStranger(t *testing.T) {
	const info = `INFO {"server_id":"x","version":"2.15.2","proto":1,"headers":true,"max_payload":8388608}` + "\r\n"
	for name, says := range map[string]string{
		"a size":             "MSG _INBOX.x 1 99999999999\r\n",
		"a large one":        "MSG _INBOX.x 1 2147483647\r\n",
		"a line without end": "MSG " + strings.Repeat("a", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			state := store.Look(store.Settings{Dir: t.TempDir()}, nil, func(context.Context) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					r := bufio.NewReader(theirs)
					_, err := io.WriteString(theirs, info)
					for line := ""; err == nil && !strings.HasPrefix(line, "PING"); {
						line, err = r.ReadString('\n')
					}
					if err == nil {
						go func() { _, _ = io.Copy(io.Discard, r) }()
						_, err = io.WriteString(theirs, "PONG\r\n"+says+"+OK\r\n")
					}
					for err == nil { // until it is let go
						_, err = theirs.Write(make([]byte, 1<<16))
					}
					close(gone)
				}()
				return ours, nil
			})
			if all, err := state.Entries(t.Context(), ""); err == nil {
				t.Errorf("it has said %v", all)
			}
			if err := state.Close(); err != nil {
				t.Error(err)
			}
			<-gone
		})
	}
}
