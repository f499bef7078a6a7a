package natsclient_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

const info = `INFO {"server_id":"X","version":"2.15.0","max_payload":1048576,"headers":true,"proto":1}` + "\r\n"

// P9: what a server sends that has no shape, or takes memory on trust, ends its connection, and
// nothing else: the library panics, or takes all memory.
func TestP9HostileServer(t *testing.T) {
	const huge, wrong = "9223372036854775807", "no NATS, or far too large"
	for name, c := range map[string]struct{ first, says, want string }{
		"size":                   {info, "MSG x 1 " + huge + "\r\nabc", wrong},
		"size of headers":        {info, "HMSG x 1 " + huge + " 5\r\nabc", wrong},
		"sizes that wrap":        {info, "HMSG x 1 99999999999999999999 99999999999999999999\r\nabc", wrong},
		"large":                  {info, "MSG x 1 4000000000\r\nabc", wrong},
		"no size":                {info, "MSG x 1 -5\r\nabc", wrong},
		"a line without end":     {info, "MSG " + strings.Repeat("a", 2<<20), wrong},
		"info without end":       {"INFO " + strings.Repeat("a", 2<<20), "", wrong},
		"hidden behind an error": {info, "-ERR \nMSG x 1 40\r\nMSG x 1 " + huge + "\r\nabc", wrong},
		"hidden behind a size":   {info, "msg x 1 5\r99\nabcde\r\nMSG x 1 " + huge + "\r\nabc", wrong},
		"hidden behind a line":   {info, "MSG \nMSG x 1 " + huge + "\r\nabc", wrong},
		"messages": {
			info, "MSG x 1 3\r\nMSG\r\nPING\r\nHMSG x 1 y 12 14\r\nNATS/1.0\r\n\r\nab\r\n" +
				"msg\tx\t1\t0\r\n\r\nINFO {}\r\nMSG x 1 4\r\n\n\r\n\n\r\n", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			defer serving.Wait()
			defer l.Close()
			serving.Go(func() { serveNATS(l, c.first, c.says) })
			u, err := bridge.ParseURL("nats://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var conn natsclient.Conn
			err = conn.Dial(ctx, &natsclient.Settings{URL: []bridge.URL{u}}, "test")
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || c.want == "" {
					t.Error(err)
				}
				return
			}
			defer conn.Close()
			got := make(chan *nats.Msg, 10)
			if _, err := conn.ChanSubscribe("x", got); err != nil {
				t.Fatal(err)
			}
			if c.want != "" {
				<-conn.Gone
				if err := conn.LastError(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("ended by %v", err)
				}
				return
			}
			for _, want := range []string{"MSG", "ab", "", "\n\r\n\n"} {
				select {
				case m := <-got:
					if string(m.Data) != want {
						t.Errorf("got %q, want %q", m.Data, want)
					}
				case <-conn.Gone:
					t.Fatal(conn.LastError())
				}
			}
		})
	}
}

// serveNATS says first to each who comes, and the rest to who subscribes.
func serveNATS(l net.Listener, first, says string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(first))
		for lines := bufio.NewScanner(c); lines.Scan(); {
			switch {
			case strings.HasPrefix(lines.Text(), "PING"):
				_, _ = c.Write([]byte("PONG\r\n"))
			case strings.HasPrefix(lines.Text(), "SUB"):
				_, _ = c.Write([]byte(says))
			}
		}
		_ = c.Close()
	}
}

// P9: it does not matter in which pieces bytes come.
func TestP9Pieces(t *testing.T) {
	const good = info + "+OK\r\nMSG x 1 3\r\nabc\r\nPING\r\nHMSG x 1 12 14\r\nNATS/1.0\r\n\r\nab\r\n-ERR 'no'\r\n"
	for text, want := range map[string]bool{good: true, good + "MSG x 1 999999999999\r\n": false, good + "MSG \n": false} {
		for size := 1; size <= len(text); size++ {
			if got := natsclient.Screened(text, size); got != want {
				t.Errorf("%q in pieces of %d: %t", text, size, got)
			}
		}
	}
}
