package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

type source struct {
	*instance
	done, total int64 // what was said of the input
	after       error // of the last answer, for the next Read
}

func newSource(i *instance) bridge.Source {
	return &source{instance: i}
}

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := s.after; err != nil {
			s.after = nil
			return nil, nil, err
		}
		answer, waiting, err := s.fetch(ctx)
		if err != nil {
			return nil, nil, err
		}
		s.count(answer.GetDropped())
		s.progress(answer.GetBytesDone(), answer.GetBytesTotal())
		batch, err := s.unpack(answer)
		if err != nil {
			return nil, nil, err
		}
		refused, err := pluginpb.Refusals(nil, answer.GetRefused(), 0, len(batch))
		if err != nil {
			return nil, nil, s.process.nonsense(fmt.Errorf("a batch makes no sense: %w", err))
		}
		if err = answer.GetError().Err(); waiting && errors.Is(err, context.Canceled) {
			err = nil
		}
		if len(refused) > 0 {
			s.after, err = err, refused
		}
		if len(batch) == 0 && err == nil {
			if err = ctx.Err(); err == nil {
				continue
			}
		}
		if len(batch) == 0 {
			return nil, nil, err
		}
		return batch, s.ack(answer.GetBatchId()), err
	}
}

// fetch makes one call. A Read that has waited for long is interrupted, and comes back, unless it
// hangs: waiting says that this has happened.
func (s *source) fetch(ctx context.Context) (answer *pluginpb.ReadResponse, waiting bool, err error) {
	err = s.interruptible(ctx, "read", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		answer, err = s.process.calls.Read(ctx, &pluginpb.ReadRequest{Instance: s.number, Call: number})
		return err
	})
	if errors.Is(err, errLate) {
		return answer, true, nil
	}
	return answer, false, err
}

func (s *source) unpack(answer *pluginpb.ReadResponse) (bridge.Batch, error) {
	if n := len(answer.GetBatch().GetPayloadSizes()); n > s.env.MaxBatch {
		return nil, s.process.nonsense(fmt.Errorf("a batch has %d messages, where %d are allowed", n, s.env.MaxBatch))
	}
	batch, err := answer.GetBatch().Messages()
	if err != nil {
		return nil, s.process.nonsense(fmt.Errorf("a batch makes no sense: %w", err))
	}
	return batch, nil
}

func (s *source) ack(batch uint64) bridge.Ack {
	return func(ctx context.Context, outcome error) error {
		request := &pluginpb.AckRequest{Instance: s.number, BatchId: batch, Error: pluginpb.NewError(outcome)}
		if outcome != nil {
			request.Settled = uint32(bridge.Settled(s.env.MaxBatch, outcome))
		}
		var answer *pluginpb.AckResponse
		err := s.process.do(ctx, "ack", func(ctx context.Context) (err error) {
			answer, err = s.process.calls.Ack(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		s.count(answer.GetDropped())
		return answer.GetError().Err()
	}
}

// progress passes on what the plugin says of its input, if it is new.
func (s *source) progress(done, total int64) {
	if done != s.done || total != s.total {
		s.done, s.total = done, total
		s.env.Progress(done, total)
	}
}
