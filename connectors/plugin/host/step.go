package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// step opens another instance by itself when its process is lost and it held nothing, since nothing
// is lost by that: once, since the messages may be what costs the process its life, and not if the
// engine counts that against a message which is alone, unless it may be another instance that has
// cost it. If it held something, the engine must begin anew, so that what was held comes again.
type step struct {
	held uint64 // the newest call that something is held of; 0: nothing
	*instance
}

func newStep(i *instance) bridge.Step { return &step{instance: i} }

// Process sends what is too large for one request in several.
func (s *step) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	for first := 0; first < len(b) || first == 0; {
		batch, n := pluginpb.NewBatch(b[first:], s.limit)
		if n == 0 && len(b) > 0 {
			out.Refuse(first, pluginpb.TooLarge(&b[first], s.limit))
			first++
			continue
		}
		answer, err := s.send(ctx, b[first:first+n], &pluginpb.ProcessRequest{
			Batch: batch, Sequence: out.Call(), Last: out.Last() && first+n == len(b),
		})
		if err == nil {
			err = answer.GetError().Err()
		}
		if err != nil {
			return err
		}
		if err := answer.Replay(out, first, n); err != nil {
			return s.process.nonsense(fmt.Errorf("an answer of the step makes no sense: %w", err))
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

// send sends one request about messages, and once more if the process is lost meanwhile.
func (s *step) send(ctx context.Context, about bridge.Batch,
	request *pluginpb.ProcessRequest,
) (*pluginpb.ProcessResponse, error) {
	for again := len(about) == 1 && s.env.Tries > 0; ; {
		var answer *pluginpb.ProcessResponse
		among, err := s.carrying(about, func() (err error) {
			answer, err = s.process1(ctx, request)
			return err
		})
		switch {
		case err == nil || s.process.alive() || ctx.Err() != nil:
			return answer, err
		case s.held > 0:
			return nil, fmt.Errorf("%w; what the step held comes again", err)
		case again && !among:
			return nil, err
		}
		again = again || !among
		s.env.Logger.Warn("step lost its plugin, opening another", "err", err)
		if s.instance, err = s.reopen(ctx); err != nil {
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
