package xrtc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// share is how much of the rate that the server grants a key we use. Clocks and networks are not
// exact, and refused requests cost more than a little pause.
const share = 0.98

// burst is how many seconds of the rate may be used at once after a pause.
const burst = 0.25

// keyring has a pacer for each key that ever was, since a key has its rate however many instances
// use it, and a registry for each account, whose portals outlive instances.
type keyring struct {
	mu         sync.Mutex // guards what follows
	pacers     map[string]*pacer
	registries map[string]*registry
}

func newKeyring() *keyring {
	return &keyring{pacers: make(map[string]*pacer), registries: make(map[string]*registry)}
}

// pacer paces the requests with one key.
type pacer struct{ *rate.Limiter }

// connection is a client with the pacer of its key.
type connection struct {
	*sdk.Client
	name    string // tells server and account apart from others, in message ids
	pacer   *pacer
	portals *registry
	limits  sdk.Limits
}

// connect logs in. limited says that the client itself asks the pacer before each request;
// perSecond, if not 0, overrules the server.
func (r *keyring) connect(ctx context.Context, s *ClientSettings, env bridge.Env,
	limited bool, perSecond float64,
) (*connection, error) {
	config := s.config()
	config.Logger = env.Logger
	var err error
	if config.TLS, err = s.TLS.Config(); err != nil {
		return nil, bridge.Permanent(err)
	}
	account, key, err := config.Fingerprint()
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	c := &connection{
		name:    account[:8],
		pacer:   of(r, r.pacers, key, func() *pacer { return &pacer{rate.NewLimiter(rate.Inf, 1)} }),
		portals: of(r, r.registries, account, func() *registry { return &registry{used: make(map[string]time.Time)} }),
	}
	if limited {
		config.Limiter = c.pacer
	}
	if c.Client, err = sdk.Open(ctx, config); err != nil {
		return nil, classify(err)
	}
	c.limits = c.Limits()
	if perSecond == 0 {
		perSecond = share * float64(c.limits.RequestsPerSecond)
	}
	c.pacer.use(perSecond)
	return c, nil
}

// limited reports whether requests have a rate.
func (c *connection) limited() bool { return c.pacer.Limit() != rate.Inf }

// of returns what is kept under a name, and makes it if it is not there.
func of[T any](r *keyring, kept map[string]*T, name string, fresh func() *T) *T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept[name] == nil {
		kept[name] = fresh()
	}
	return kept[name]
}

// use sets the rate. A pacer that had none begins with one request, since the server may have seen
// others before.
func (p *pacer) use(perSecond float64) {
	switch limit := rate.Limit(perSecond); {
	case perSecond == 0:
		p.SetLimit(rate.Inf)
	case limit != p.Limit():
		p.SetLimit(limit)
		p.SetBurst(max(1, int(burst*perSecond)))
		p.AllowN(time.Now(), p.Burst()-1)
	}
}

// classify marks what trying again cannot mend. A closed instance is followed by another.
func classify(err error) error {
	switch {
	case sdk.IsTemporary(err), errors.Is(err, sdk.ErrClosed):
		return err
	case errors.Is(err, sdk.ErrInvalidCredentials):
		err = fmt.Errorf("%w: check account_id and api_key, or what env_file and the environment say", err)
	}
	return bridge.Permanent(err)
}
