package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Probe finds out whether a state can be had, and changes nothing. s must be that of [Look], and
// settings must not say that it is off. A server of our own is not started, and so not tried.
func (s *Store) Probe(ctx context.Context) (p bridge.Probed, err error) {
	if s.settings.NATS == nil {
		at := s.settings.Place()
		dir, err := at.Open()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.NotTried = []string{"folder " + at.Path + " is not there: run makes it"}
			return p, nil
		case err != nil:
			return p, err
		}
		p.Tried = []string{"opened " + at.Path}
		return p, dir.Close()
	}
	n, err := s.open(ctx)
	if err != nil {
		return p, err
	}
	p.Tried = []string{n.external.LoggedIn(len(s.settings.NATS.URL))}
	_, err = n.js.Stream(ctx, n.state)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		p.NotTried = append(p.NotTried, fmt.Sprintf("stream %q is not there: run makes it", n.state))
	case err != nil:
		return p, n.failed(ctx, "look for the state", err)
	default:
		p.Tried = append(p.Tried, fmt.Sprintf("stream %q is there", n.state))
	}
	p.NotTried = append(p.NotTried, "write: it would change something")
	return p, nil
}
