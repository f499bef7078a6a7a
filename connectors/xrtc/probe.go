package xrtc

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// Probe logs in and asks once for the newest item of each portal, which another session gets all
// the same.
func (s *SourceSettings) Probe(ctx context.Context, env bridge.Env) (bridge.Probed, error) {
	p, client, err := s.probe(ctx, env)
	if err != nil || client == nil {
		return p, err
	}
	defer func() { _ = client.Close() }()
	if s.all() {
		p.NotTried = append(p.NotTried, "read all portals: it would take requests that the account may have a limit for")
		return p, nil
	}
	items, err := client.Get(ctx, sdk.GetRequest{Portals: sdk.Portals(s.Portals...), Mode: sdk.Probe})
	if err != nil {
		return p, classify(err)
	}
	p.Tried = append(p.Tried, fmt.Sprintf("read %q", s.Portals))
	holds := make(map[string]bool)
	for i := range items {
		holds[items[i].PortalID] = true
	}
	for _, id := range s.Portals {
		if !holds[id] {
			p.NotTried = append(p.NotTried, fmt.Sprintf("portal %s holds nothing now", id))
		}
	}
	return p, nil
}

// Probe logs in.
func (s *SinkSettings) Probe(ctx context.Context, env bridge.Env) (bridge.Probed, error) {
	p, client, err := s.probe(ctx, env)
	if err != nil || client == nil {
		return p, err
	}
	p.NotTried = append(p.NotTried, fmt.Sprintf("set an item of portal %v: it would change something", s.Portal))
	return p, client.Close()
}

// probe logs in beside the sessions that there are. The client is nil if the server wants a pause
// before that, as it does from those whom it knows.
func (s *ClientSettings) probe(ctx context.Context, env bridge.Env) (p bridge.Probed, client *sdk.Client, err error) {
	config := s.config()
	config.Logger = env.Logger
	if config.TLS, err = s.TLS.Config(); err != nil {
		return p, nil, err
	}
	client, err = sdk.Open(ctx, config)
	if e, ok := errors.AsType[*sdk.Error](err); ok && e.Code == sdk.ErrTooFrequentLogin {
		p.Tried = []string{"the server knows account and key"}
		p.NotTried = []string{"more than that: it wants a pause from one login to the next"}
		return p, nil, nil
	}
	if err != nil {
		return p, nil, classify(err)
	}
	p.Tried = []string{"logged in"}
	return p, client, nil
}
