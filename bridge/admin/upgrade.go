package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

// Upgrade hands the connection of a request that wants the protocol of that name to enter, which
// gets it by calling accept, and which answers for it from then on.
func Upgrade(protocol string, enter func(accept func() (net.Conn, error)) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != protocol {
			Fail(w, http.StatusUpgradeRequired, fmt.Errorf("this wants Upgrade: %s", protocol))
			return
		}
		taken := false
		err := enter(func() (net.Conn, error) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return nil, err
			}
			taken = true
			if err = conn.SetDeadline(time.Time{}); err == nil {
				_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+
					protocol+"\r\n\r\n")
			}
			if err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return conn, nil
		})
		if err != nil && !taken {
			Fail(w, http.StatusConflict, err)
		}
	})
}

// mostHead is how much is read of what says that the protocol is another.
const mostHead = 64 << 10

// Upgrade connects by another protocol to what the bridge has at the path.
func (c *Client) Upgrade(ctx context.Context, path, protocol string) (net.Conn, error) {
	conn, err := c.Place.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", protocol)
	head := &io.LimitedReader{R: conn, N: mostHead}
	rest := bufio.NewReader(head)
	var answer *http.Response
	if err = r.Write(conn); err == nil {
		answer, err = http.ReadResponse(rest, r) //nolint:bodyclose // what follows is the other protocol
	}
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = &Error{Code: answer.StatusCode, Text: "the bridge answers " + answer.Status}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	head.N = math.MaxInt64
	return upgraded{conn, rest}, nil
}

// upgraded is a connection of which some was read.
type upgraded struct {
	net.Conn
	rest *bufio.Reader
}

func (u upgraded) Read(p []byte) (int, error) { return u.rest.Read(p) }
