package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// closeTimeout is how long closing waits, once for the broker and once for paho.
const closeTimeout = time.Second

// errLeft ends a connection that the broker does not. It is not net.ErrClosed, at which paho's
// goroutines would stay until the next ping.
var errLeft = errors.New("the instance is closed")

// session is one connection to a broker, from CONNECT to DISCONNECT.
type session struct {
	conn    *conn
	client  paho.Client
	gone    chan struct{} // closed when paho has cleaned up
	resumed bool          // the broker had a session of this client
}

// identity is how a client presents itself to the broker.
type identity struct {
	clientID string
	unique   bool // nobody else can be using clientID
	clean    bool // the broker keeps nothing for it
}

// connect opens a session. Packets of the PUBLISH family may reach p before it returns.
func connect(ctx context.Context, s *ClientSettings, who identity, p peer) (*session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.ConnectTimeout, fmt.Errorf("no answer within %v", s.ConnectTimeout))
	defer cancel()
	raw, err := dial(ctx, s)
	if errors.Is(err, io.EOF) {
		err = errors.New("connection closed by the broker") // an io.EOF would mean success to the engine
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.URL, err)
	}
	ses := &session{conn: newConn(raw, p, who, s), gone: make(chan struct{})}
	defer context.AfterFunc(ctx, func() { _ = ses.conn.fail(context.Cause(ctx)) })()
	ses.client = paho.NewClient(ses.options(s, who))
	token := ses.client.Connect()
	<-token.Done() // the deadline of ctx closes the connection, which ends this wait
	if token.Error() != nil {
		code := token.(*paho.ConnectToken).ReturnCode()
		return nil, fmt.Errorf("connect to %s: %w", s.URL, ses.refusal(code, token.Error()))
	}
	ses.resumed = token.(*paho.ConnectToken).SessionPresent()
	return ses, nil
}

// options switches off all that paho does to survive a connection: the engine
// opens another instance, and a token of paho that outlives its connection may report
// success without an acknowledgement.
func (s *session) options(c *ClientSettings, who identity) *paho.ClientOptions {
	o := paho.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: c.URL.Scheme, Host: c.URL.Host}}
	o.SetProtocolVersion(4).SetClientID(who.clientID).SetCleanSession(who.clean)
	o.SetAutoReconnect(false).SetConnectRetry(false)
	user, password := c.credentials()
	o.SetUsername(user).SetPassword(password)
	o.SetKeepAlive(c.Keepalive).SetPingTimeout(c.WriteTimeout)
	o.SetConnectTimeout(c.ConnectTimeout + time.Minute) // the deadline in connect comes first
	o.SetWriteTimeout(c.WriteTimeout)                   // for its queue to take a packet
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return s.conn, nil })
	o.SetConnectionLostHandler(func(_ paho.Client, err error) {
		_ = s.conn.fail(fmt.Errorf("connection lost: %w", err))
		close(s.gone)
	})
	return o
}

// refusal says why CONNECT did not succeed.
func (s *session) refusal(code byte, err error) error {
	switch code {
	case 1, 2: // protocol version, client identifier
		return bridge.Permanent(s.conn.fail(fmt.Errorf("refused by the broker: %w", err)))
	case 4, 5: // user name or password, authorization
		return bridge.Permanent(s.conn.fail(fmt.Errorf("refused by the broker: %w: check username, password and client_id, and what the broker grants them", err)))
	case 3: // server unavailable
		return s.conn.fail(fmt.Errorf("refused by the broker: %w", err))
	}
	return s.conn.fail(err) // the first cause, if there is one already
}

// subscribe asks for all filters and returns when the broker has granted them
// as asked for.
func (s *session) subscribe(filters []string, qos byte, timeout time.Duration) error {
	asked := make(map[string]byte, len(filters))
	for _, f := range filters {
		asked[f] = qos
	}
	s.conn.filters.Store(int32(len(asked)))
	token := s.client.SubscribeMultiple(asked, nil)
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-token.Done():
	case <-s.conn.dead:
	case <-late.C:
		return fmt.Errorf("subscribe: no answer within %v", timeout)
	}
	select {
	case <-s.conn.dead:
		return fmt.Errorf("subscribe: %w", s.conn.cause)
	default:
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return checkGrants(filters, qos, token.(*paho.SubscribeToken).Result())
}

// checkGrants exists because a refused subscription is no error to paho. Its errors are permanent:
// brokers refuse what the client has no permission for.
func checkGrants(filters []string, qos byte, granted map[string]byte) error {
	var errs []error
	for _, f := range filters {
		got, answered := granted[f]
		switch {
		case !answered || got > 2:
			errs = append(errs, fmt.Errorf("subscribe %q: refused by the broker: check that it lets this client read the topic", f))
		case got < qos:
			errs = append(errs, fmt.Errorf("subscribe %q: the broker grants QoS %d at most, not %d: set qos to what it grants", f, got, qos))
		}
	}
	return bridge.Permanent(errors.Join(errs...))
}

// close sends DISCONNECT, and waits for the broker to hang up and for paho to
// finish. It does not just close the socket: with unread bytes in it that
// is a reset, which can cost the broker what we sent last, acknowledgements among it.
func (s *session) close() {
	if s.conn.leave() {
		wait(s.conn.dead)
	}
	_ = s.conn.fail(errLeft)
	wait(s.gone)
}

func wait(done <-chan struct{}) {
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}
