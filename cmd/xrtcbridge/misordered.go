//go:build crashpoints

package main

import (
	"context"
	"os"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// tested makes all sources acknowledge what they have read before it is delivered where the
// environment wants that, which test F02 must notice: else it proves nothing.
func tested(all []bridge.Connector) []bridge.Connector {
	if os.Getenv(crashpoint.Misordered) == "" {
		return all
	}
	for i := range all {
		if all[i].Source != nil {
			all[i].Source = hasty{all[i].Source}
		}
	}
	return all
}

type hasty struct{ bridge.Opener[bridge.Source] }

func (h hasty) Open(ctx context.Context, settings any, env bridge.Env) (bridge.Source, error) {
	s, err := h.Opener.Open(ctx, settings, env)
	if err != nil {
		return nil, err
	}
	return hastySource{s}, nil
}

type hastySource struct{ bridge.Source }

func (s hastySource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	batch, ack, err := s.Source.Read(ctx)
	if len(batch) == 0 {
		return batch, ack, err
	}
	if failed := ack(ctx, nil); failed != nil && err == nil {
		err = failed
	}
	return batch, func(context.Context, error) error { return nil }, err
}
