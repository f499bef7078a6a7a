package xrtc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// How long the parts of a request may take.
const (
	connectTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second // beyond GET_ITEM_TIMEOUT
	idleConn       = 50 * time.Second // below what load balancers grant, lest a request cross their hanging up
	maxHeader      = 64 << 10         // bytes of the header of an answer
)

// Client is a logged-in client of one account. Its methods may be called from any number of
// goroutines.
type Client struct {
	to        *resolved // a pointer, which fmt does not follow
	limiter   Limiter
	log       *slog.Logger
	transport http.RoundTripper
	own       *http.Transport // nil if Config gave one
	conns     conns           // of own

	// renewing is held by whoever logs in. It is a channel, for waiting with a context.
	renewing chan struct{}

	closed context.Context //nolint:containedctx // it is the life of the client
	end    context.CancelCauseFunc

	mu        sync.Mutex // guards what follows
	session   *session   // nil: none yet
	logins    int        // attempts that have ended
	failed    error      // the last of them
	notBefore time.Time  // the server asked for a pause until then
}

// Open logs in. An error is [ErrNoCredentials], before anything is sent, or [Error], or of the
// network.
func Open(ctx context.Context, config Config) (*Client, error) {
	to, err := config.resolve()
	if err != nil {
		return nil, err
	}
	c := &Client{
		to: to, limiter: config.Limiter, log: config.Logger, transport: config.Transport,
		renewing: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if address := to.inTheClear(); address != "" {
		c.log.WarnContext(ctx, "account, key and items go over the network in the clear: use https://", "address", address)
	}
	c.closed, c.end = context.WithCancelCause(context.Background())
	if c.transport == nil {
		c.own = c.newTransport(&config)
		c.transport = c.own
	}
	s, err := c.loggedIn(ctx, nil)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	if patience := s.limits.GetItemTimeout + answerTimeout; c.own != nil && patience > c.own.ResponseHeaderTimeout {
		c.own.CloseIdleConnections()
		c.own = c.own.Clone()
		c.own.ResponseHeaderTimeout = patience
		c.transport = c.own
	}
	return c, nil
}

func (c *Client) newTransport(config *Config) *http.Transport {
	d := net.Dialer{Timeout: connectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.conns.dial(ctx, c.closed, &d, network, address)
		},
		TLSClientConfig:        config.TLS.Clone(),
		TLSHandshakeTimeout:    2 * connectTimeout,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    100,
		IdleConnTimeout:        idleConn,
		ResponseHeaderTimeout:  GetItemTimeout + answerTimeout,
		DisableCompression:     true,
		WriteBufferSize:        16 << 10,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// Close ends all requests of the client, unless Config gave the transport; then it makes no new
// ones. The API has no logout; the session ends by itself.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.conns.close()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// LoginTime returns when the server says that it was at the login of the session.
func (c *Client) LoginTime() time.Time { return time.UnixMilli(c.now().time) }

// Limits returns what the server announced at login, or else what the public service documents.
func (c *Client) Limits() Limits { return c.now().limits }

// now returns the session of the moment.
func (c *Client) now() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Set puts the items into their portals, in this order, all or none of them, and returns the time
// that they bear. It fails before anything is sent if an item cannot be sent, or all of them are
// too large for one request ([ErrTooLarge]). After another error than [Error] they may have been
// set.
func (c *Client) Set(ctx context.Context, items ...Item) (time.Time, error) {
	size := wire.SetOverhead
	for i := range items {
		if err := CheckItem(items[i].PortalID, []byte(items[i].Payload)); err != nil {
			return time.Time{}, fmt.Errorf("set: %w", err)
		}
		size += wire.SetItemSize(items[i].PortalID, items[i].Payload)
	}
	if len(items) == 0 {
		return time.Time{}, fmt.Errorf("set: %w: there are no items", ErrRequest)
	}
	body := wire.AppendSet(make([]byte, 0, size))
	for i := range items {
		body = wire.AppendSetItem(body, items[i].PortalID, items[i].Payload)
	}
	return c.SetEncoded(ctx, wire.AppendSetEnd(body))
}

// SetEncoded is Set of a request that [Pack] made.
func (c *Client) SetEncoded(ctx context.Context, body []byte) (time.Time, error) {
	answer, err := c.ask(ctx, c.to.set, body)
	if err != nil {
		return time.Time{}, fmt.Errorf("set: %w", err)
	}
	defer answers.Put(answer)
	return time.UnixMilli(answer.ServerTimestamp), nil
}

// sizeMax returns the most bytes of a request to u and the name of that limit.
func (c *Client) sizeMax(u *url.URL) (int, string) {
	l := c.Limits()
	most := l.PayloadSizeMax
	if u == c.to.get {
		most = wire.GetSizeMax(most, l.PortalsCountMax)
	}
	if l.Announced && most < c.to.sizeMax {
		return most, "PAYLOAD_SIZE_MAX of the server"
	}
	return c.to.sizeMax, "SERIALIZED_JSON_SIZE_MAX"
}

// checkSize refuses a request to u that is larger than is allowed.
func (c *Client) checkSize(u *url.URL, body []byte) error {
	if most, name := c.sizeMax(u); len(body) > most {
		return fmt.Errorf("%w: %d bytes, and %s is %d", ErrTooLarge, len(body), name, most)
	}
	return nil
}

// Get makes one request and returns the items of its answer; with mode Stream that takes as long as
// the server streams. Only what is new to the session is returned, unless no portal is named. After
// another error than [Error] the session may have had items that never arrived.
func (c *Client) Get(ctx context.Context, r GetRequest) ([]Item, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("get: %w: %w", ErrRequest, err)
	}
	if r.Mode == Stream && len(r.Portals) > 0 {
		r.Once, r.Schedule = true, cmp.Or(r.Schedule, LIFO)
		var all []Item
		for items, err := range c.StreamBatches(ctx, r) {
			if err != nil {
				return all, err
			}
			all = append(all, items...)
		}
		return all, ctx.Err()
	}
	if len(r.Portals) == 0 {
		return c.latest(ctx, nil)
	}
	return c.get(ctx, r.wire(Probe, LIFO))
}

func (c *Client) get(ctx context.Context, r *wire.Get) ([]Item, error) {
	answer, err := c.ask(ctx, c.to.get, encode(r))
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	defer answers.Put(answer)
	return itemsOf(answer, r.Schedule == wire.DefaultSchedule), nil
}

// latest returns the newest item of every portal but those, the portal written last first. A server
// that cannot leave out what it has told may return the newest of those too, and not of all others.
func (c *Client) latest(ctx context.Context, except []string) ([]Item, error) {
	get := (&GetRequest{}).wire(Probe, LIFO)
	if !c.Limits().Announced {
		return c.get(ctx, get)
	}
	var all []Item
	for get.Except = slices.Clone(except); ; {
		items, err := c.get(ctx, get)
		if err != nil || len(items) == 0 || slices.Contains(get.Except, items[0].PortalID) {
			return all, err
		}
		all = append(all, items...)
		for i := range items {
			get.Except = append(get.Except, items[i].PortalID)
		}
	}
}

// itemsOf copies the items of an answer, which are newest first or oldest first.
func itemsOf(a *wire.Answer, newestFirst bool) []Item {
	if len(a.Items) == 0 {
		return nil
	}
	step := int64(1)
	if newestFirst {
		step = -1
	}
	items := make([]Item, len(a.Items))
	for i := range a.Items {
		w := &a.Items[i]
		if i > 0 && items[i-1].PortalID == string(w.PortalID) {
			items[i].PortalID = items[i-1].PortalID
		} else {
			items[i].PortalID = string(w.PortalID)
		}
		items[i].Payload = string(w.Payload)
		items[i].Time = time.UnixMilli(w.ServerTimestamp)
		if place, told := a.Places[items[i].PortalID]; told {
			items[i].Place = Place(place)
			place.Number += step
			a.Places[items[i].PortalID] = place
		}
	}
	return items
}
