package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// step opens another instance by itself when its process is lost and it held nothing, since nothing
// is lost by that. If it held something, the engine must begin anew, so that what was held comes
// again.
type step struct {
	opener   opener[bridge.Step]
	settings any
	env      bridge.Env
	held     uint64 // the newest call that something is held of; 0: nothing
	*instance
}

func newStep(o opener[bridge.Step], settings any, i *instance) bridge.Step {
	return &step{opener: o, settings: settings, env: i.env, instance: i}
}

// Process sends what is too large for one request in several.
func (s *step) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	for first := 0; first < len(b) || first == 0; {
		batch, n := pluginpb.NewBatch(b[first:], s.limit)
		if n == 0 && len(b) > 0 {
			out.Refuse(first, pluginpb.TooLarge(&b[first], s.limit))
			first++
			continue
		}
		answer, err := s.send(ctx, &pluginpb.ProcessRequest{Batch: batch, Sequence: out.Call(), Last: out.Last() && first+n == len(b)})
		if err == nil {
			err = answer.GetError().Err()
		}
		if err != nil {
			return err
		}
		if err := answer.Replay(out, first, n); err != nil {
			return fmt.Errorf("plugin %q, an answer of the step makes no sense: %w", s.process.name, err)
		}
		if len(answer.GetHeld()) > 0 {
			s.held = out.Call()
		}
		if answer.GetReleased() >= s.held {
			s.held = 0
		}
		if first += n; n == 0 {
			break
		}
	}
	return nil
}

// send sends one request, again if the process is lost meanwhile.
func (s *step) send(ctx context.Context, request *pluginpb.ProcessRequest) (*pluginpb.ProcessResponse, error) {
	for {
		answer, err := s.process1(ctx, request)
		switch {
		case err == nil || s.process.alive() || ctx.Err() != nil:
			return answer, err
		case s.held > 0:
			return nil, fmt.Errorf("%w; what the step held comes again", err)
		}
		s.env.Logger.Warn("step lost its plugin, opening another", "err", err)
		if err := s.reopen(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *step) process1(ctx context.Context, request *pluginpb.ProcessRequest) (answer *pluginpb.ProcessResponse, err error) {
	err = s.interruptible(ctx, "process", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		request.Instance, request.Call = s.number, number
		answer, err = s.process.calls.Process(ctx, request)
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
			_ = s.Close() // its process is gone
			s.instance = again
			return nil
		}
		if bridge.IsPermanent(err) || ctx.Err() != nil {
			return err
		}
		s.env.Logger.Warn("open step again", "err", err) // the plugin waits longer before each start
	}
}
