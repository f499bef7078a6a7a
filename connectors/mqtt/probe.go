package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Probe logs in and subscribes.
func (s *SourceSettings) Probe(ctx context.Context, _ bridge.Env) (bridge.Probed, error) {
	c, p, err := probe(ctx, &s.ClientSettings, s.five())
	if err != nil {
		return p, err
	}
	defer c.close(nil)
	defer context.AfterFunc(ctx, func() { _ = c.fail(context.Cause(ctx)) })()
	filters, _ := uncovered(s.Topics)
	var plain []string
	for _, f := range filters {
		if own := alone(f); own == f {
			plain = append(plain, f)
		} else {
			plain = append(plain, own)
			p.NotTried = append(p.NotTried,
				fmt.Sprintf("subscribe to %q: it would take messages from others; tried was %q", f, own))
		}
	}
	granted, err := c.subscribe(plain, subscription{qos: byte(s.QoS)})
	if err == nil {
		err = c.await(granted, nil)
	}
	if err == nil {
		p.Tried = append(p.Tried, fmt.Sprintf("subscribed to %q with qos %d", plain, s.QoS))
	}
	return p, s.metAnother(err, c.who)
}

// Probe logs in.
func (s *SinkSettings) Probe(ctx context.Context, _ bridge.Env) (bridge.Probed, error) {
	c, p, err := probe(ctx, &s.ClientSettings, s.five())
	if err != nil {
		return p, err
	}
	c.close(nil)
	p.NotTried = append(p.NotTried, fmt.Sprintf("publish to %v: it would change something", s.Topic))
	return p, nil
}

// probe connects as a client of its own without a session, so that it is in nobody's way, and that
// neither publishes anything nor leaves something to publish.
func probe(ctx context.Context, s *ClientSettings, needs string) (c *conn, p bridge.Probed, err error) {
	quiet := *s
	quiet.Birth, quiet.Will = nil, nil
	who := identity{
		clientID: "xrtcbridge-check-" + strings.ToLower(rand.Text()[:6]), unique: true, clean: true, needs: needs,
	}
	c, err = connect(ctx, &quiet, who, deaf{})
	if err != nil {
		return nil, p, s.metAnother(err, who)
	}
	p.Tried = []string{"logged in"}
	if len(s.URL) > 1 {
		p.Tried = []string{fmt.Sprintf("logged in at %v, one of %d addresses", c.at, len(s.URL))}
	}
	if s.Birth != nil || s.Will != nil {
		p.NotTried = append(p.NotTried, "publish birth and will")
	}
	return c, p, nil
}

// metAnother adds to what a broker refuses, or hangs up at, that it has met another client than
// that of the pipeline.
func (s *ClientSettings) metAnother(err error, who identity) error {
	if s.ClientID == "" && s.Bridge == "" || !bridge.IsPermanent(err) && !errors.Is(err, errHungUp) {
		return err
	}
	return fmt.Errorf("%w (tried with the client id %s, since that of the pipeline, %s, may be in use)",
		err, who.clientID, s.clientID(bridge.Env{}))
}

// alone returns a filter that nobody else has less by: without the group of a shared subscription,
// or the lock of an exclusive one.
func alone(filter string) string {
	filter = inner(filter)
	for _, prefix := range []string{"$queue/", "$exclusive/"} { // of some brokers
		filter = strings.TrimPrefix(filter, prefix)
	}
	return filter
}

// deaf is a peer that takes no message, and acknowledges none.
type deaf struct{}

var _ peer = deaf{}

func (deaf) frame(frame) error { return nil }
func (deaf) flush(*conn)       {}
func (deaf) waits() bool       { return false }
func (deaf) lost(error)        {}
