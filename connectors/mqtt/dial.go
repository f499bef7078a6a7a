package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

// scheme says what a URL scheme means; no port: it is unknown.
func scheme(name string) (port string, secure, web bool) {
	switch name {
	case "mqtt", "tcp":
		return "1883", false, false
	case "mqtts", "ssl":
		return "8883", true, false
	case "ws":
		return "80", false, true
	case "wss":
		return "443", true, true
	}
	return "", false, false
}

// dialer connects to a broker.
type dialer struct {
	set    *ClientSettings
	url    bridge.URL
	socket *socket.Conn // nil: nobody listens
	spoke  bool         // TLS, if that is wanted
}

// dial connects, up to where MQTT begins.
func (d *dialer) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	port, encrypted, web := scheme(d.url.Scheme)
	var secure *tls.Config
	if encrypted {
		var err error
		if secure, err = d.set.TLS.Config(); err != nil {
			return nil, err
		}
		secure.ServerName = cmp.Or(secure.ServerName, d.url.Hostname())
		secure.VerifyConnection = func(tls.ConnectionState) error { d.spoke = true; return nil }
	}
	if web {
		return d.upgrade(ctx, secure)
	}
	address := d.url.Host
	if d.url.Port() == "" {
		address = net.JoinHostPort(d.url.Hostname(), port)
	}
	plain, err := d.open(ctx, "tcp", address)
	if err != nil || secure == nil {
		return plain, err
	}
	t := tls.Client(plain, secure)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, err
	}
	return t, nil
}

func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	tcp := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	c, err := tcp.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.socket = socket.New(c, d.set.WriteTimeout)
	return d.socket, nil
}

// upgrade opens a WebSocket.
func (d *dialer) upgrade(ctx context.Context, secure *tls.Config) (io.ReadWriteCloser, error) {
	stop := func() bool { return true }
	w := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := d.open(ctx, network, address)
			if err == nil { // the library looks at no context while it waits for the answer to its upgrade
				stop = context.AfterFunc(ctx, func() { _ = c.Close() })
			}
			return c, err
		},
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, Subprotocols: []string{"mqtt"},
	}
	bare := *d.url.URL
	bare.User = nil                                          // the library refuses it
	c, answer, err := w.DialContext(ctx, bare.String(), nil) //nolint:bodyclose // it holds no connection
	switch {
	case !stop():
		return nil, cmp.Or(ctx.Err(), err)
	case answer != nil && err != nil:
		return nil, fmt.Errorf("%w: the answer is %s: check the path, the port, and whether it speaks TLS: wss://?",
			err, answer.Status)
	case err != nil:
		return nil, err
	}
	return webConn{c, websocket.JoinMessages(c, "")}, nil
}

// webConn is a stream of bytes over a WebSocket.
type webConn struct {
	*websocket.Conn
	io.Reader
}

func (c webConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
