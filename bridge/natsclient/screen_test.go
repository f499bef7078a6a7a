package natsclient_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
		for scheme, serve := range map[string]func(l net.Listener, first, says string){
			"nats": serveNATS, "ws": serveFrames, "tls": serveTLS(t), "wss": func(l net.Listener, first, says string) {
				serveFrames(tls.NewListener(l, secret(t)), first, says)
			},
		} {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				var serving sync.WaitGroup
				defer serving.Wait()
				defer l.Close()
				serving.Go(func() { serve(l, c.first, c.says) })
				u, err := bridge.ParseURL(scheme + "://" + l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var conn natsclient.Conn
				settings := &natsclient.Settings{URL: []bridge.URL{u}}
				settings.TLS.Insecure = scheme == "tls" || scheme == "wss"
				err = conn.Dial(ctx, settings, "test")
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
}

// serveNATS says first to each who comes, and the rest to who subscribes.
func serveNATS(l net.Listener, first, says string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(first))
		converse(c, says)
	}
}

// secret returns what a server needs for TLS.
func secret(t *testing.T) *tls.Config {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.TLS
}

// serveTLS is serveNATS with TLS behind the first line.
func serveTLS(t *testing.T) func(l net.Listener, first, says string) {
	config := secret(t)
	return func(l net.Listener, first, says string) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(strings.Replace(first, `"headers":`, `"tls_required":true,"headers":`, 1)))
			converse(tls.Server(c, config), says)
		}
	}
}

// converse answers, and says that to who subscribes.
func converse(c net.Conn, says string) {
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

// serveFrames is serveNATS for a WebSocket.
func serveFrames(l net.Listener, first, says string) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, 1.3
		accept := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + guid))
		c, from, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n%s", base64.StdEncoding.EncodeToString(accept[:]), frames(first))
		for {
			var head [6]byte // with the mask; no frame of a client is long here, and the last one has a length behind it
			if _, err := io.ReadFull(from, head[:]); err != nil {
				return
			}
			mask, n := head[2:], int(head[1]&0x7f)
			if n == 126 {
				n = int(binary.BigEndian.Uint16(head[2:4]))
				mask = make([]byte, 4)
				copy(mask, head[4:])
				if _, err := io.ReadFull(from, mask[2:]); err != nil {
					return
				}
			}
			text := make([]byte, n)
			if _, err := io.ReadFull(from, text); err != nil {
				return
			}
			for i := range text {
				text[i] ^= mask[i%4]
			}
			for line := range strings.Lines(string(text)) {
				switch {
				case strings.HasPrefix(line, "PING"):
					_, _ = io.WriteString(c, frames("PONG\r\n"))
				case strings.HasPrefix(line, "SUB"):
					_, _ = io.WriteString(c, frames(says))
				}
			}
		}
	})}
	_ = server.Serve(l)
	_ = server.Close()
}

// frames returns text in frames of several lengths, with a ping between.
func frames(text string) string {
	var b strings.Builder
	for size := 100; text != ""; size *= 30 {
		n := min(len(text), size)
		switch {
		case n < 126:
			b.WriteString(string([]byte{0x82, byte(n)}))
		case n < 1<<16:
			b.WriteString(string(binary.BigEndian.AppendUint16([]byte{0x82, 126}, uint16(n))))
		default:
			b.WriteString(string(binary.BigEndian.AppendUint64([]byte{0x82, 127}, uint64(n))))
		}
		b.WriteString(text[:n] + "\x89\x02hi")
		text = text[n:]
	}
	return b.String()
}

// P9: what asks for more of HTTP, or of the frames, than there may be ends it, too.
func TestP9FramesInPieces(t *testing.T) {
	const head = "HTTP/1.1 101 x\r\na: b\r\n\r\n"
	good := head + frames(info+strings.Repeat("MSG x 1 3\r\nabc\r\n", 300))
	for text, want := range map[string]bool{
		good: true, good + frames("MSG x 1 999999999999\r\n"): false,
		head + "\xc2\x05abcde": false, head + "\x82\x85mask": false,
		"HTTP/1.1 101 x\r\n" + strings.Repeat("a: b\r\n", 20_000): false,
	} {
		for size := 1; size <= len(text); size += 1 + size/9 {
			if got := natsclient.ScreenedInFrames(text, size); got != want {
				t.Errorf("%.60q in pieces of %d: %t", text, size, got)
			}
		}
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
