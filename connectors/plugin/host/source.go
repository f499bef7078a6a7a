package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// readWait is how long a plugin may wait for a message before it says that there is none.
const readWait = 5 * time.Second

type source struct {
	*instance
	done, total int64 // what was said of the input
	after       error // of the last answer, for the next Read
}

func newSource(_ opener[bridge.Source], _ any, i *instance) bridge.Source {
	return &source{instance: i}
}

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := s.after; err != nil {
			s.after = nil
			return nil, nil, err
		}
		answer, err := s.fetch(ctx)
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
			return nil, nil, fmt.Errorf("plugin %q, a batch makes no sense: %w", s.process.name, err)
		}
		err = answer.GetError().Err()
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

func (s *source) fetch(ctx context.Context) (answer *pluginpb.ReadResponse, err error) {
	// The plugin answers by itself after readWait, so being interrupted for lateness is its last
	// chance.
	err = s.interruptible(ctx, "read", readWait+s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		answer, err = s.process.calls.Read(ctx, &pluginpb.ReadRequest{
			Instance: s.number, Call: number, WaitMs: uint32(readWait.Milliseconds()),
		})
		return err
	})
	if errors.Is(err, errLate) {
		err = nil
	}
	return answer, err
}

func (s *source) unpack(answer *pluginpb.ReadResponse) (bridge.Batch, error) {
	if n := len(answer.GetBatch().GetPayloadSizes()); n > s.env.MaxBatch {
		return nil, fmt.Errorf("plugin %q: a batch has %d messages, where %d are allowed", s.process.name, n, s.env.MaxBatch)
	}
	batch, err := answer.GetBatch().Messages()
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", s.process.name, err)
	}
	return batch, nil
}

func (s *source) ack(batch uint64) bridge.Ack {
	return func(ctx context.Context, outcome error) error {
		var answer *pluginpb.AckResponse
		err := s.do(ctx, "ack", func(ctx context.Context) (err error) {
			answer, err = s.process.calls.Ack(ctx, &pluginpb.AckRequest{
				Instance: s.number, BatchId: batch, Error: pluginpb.NewError(outcome),
			})
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
