package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// step opens another instance by itself when its process is lost, since the engine opens a step once.
type step struct {
	opener   opener[bridge.Step]
	settings any
	env      bridge.Env
	*instance
}

func newStep(o opener[bridge.Step], settings any, i *instance) bridge.Step {
	return &step{opener: o, settings: settings, env: i.env, instance: i}
}

func (s *step) Process(ctx context.Context, b bridge.Batch) (bridge.Batch, error) {
	result := make(bridge.Batch, 0, len(b))
	for len(b) > 0 {
		batch, n := pluginpb.NewBatch(b, s.limit)
		if n == 0 {
			return nil, pluginpb.TooLarge(&b[0], s.limit)
		}
		part, err := s.part(ctx, batch)
		if err != nil {
			return nil, err
		}
		result, b = append(result, part...), b[n:]
	}
	return result, nil
}

// part sends one batch through, again if the process is lost meanwhile.
func (s *step) part(ctx context.Context, batch *pluginpb.Batch) (bridge.Batch, error) {
	for {
		answer, err := s.process1(ctx, batch)
		if err == nil {
			if err := answer.GetError().Err(); err != nil {
				return nil, err
			}
			part, err := answer.GetBatch().Messages()
			if err != nil {
				return nil, fmt.Errorf("plugin %q: %w", s.process.name, err)
			}
			return part, nil
		}
		if s.process.alive() || ctx.Err() != nil {
			return nil, err
		}
		s.env.Logger.Warn("step lost its plugin, opening another", "err", err)
		if err := s.reopen(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *step) process1(ctx context.Context, batch *pluginpb.Batch) (answer *pluginpb.ProcessResponse, err error) {
	err = s.interruptible(ctx, "process", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		answer, err = s.process.calls.Process(ctx, &pluginpb.ProcessRequest{Instance: s.number, Call: number, Batch: batch})
		return err
	})
	if errors.Is(err, errLate) {
		err = nil // it says itself that it was interrupted, or has come to an end
	}
	return answer, err
}

func (s *step) reopen(ctx context.Context) error {
	for {
		again, err := s.opener.open(ctx, s.settings, s.env)
		if err == nil {
			s.instance = again
			return nil
		}
		if bridge.IsPermanent(err) || ctx.Err() != nil {
			return err
		}
		s.env.Logger.Warn("open step again", "err", err) // the plugin waits longer before each start
	}
}
