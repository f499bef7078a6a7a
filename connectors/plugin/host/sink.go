package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// sink opens another instance by itself if it may be another one that has cost the process its
// life, so that this is not taken for a failure of its messages.
type sink struct{ *instance }

func newSink(i *instance) bridge.Sink { return &sink{i} }

// Write sends what is too large for one request in several.
func (s *sink) Write(ctx context.Context, b bridge.Batch) (r bridge.Result, err error) {
	for r.Settled < len(b) && err == nil {
		batch, n := pluginpb.NewBatch(b[r.Settled:], s.limit)
		if n == 0 {
			r.Refused = append(r.Refused, bridge.Refusal{Index: r.Settled, Err: pluginpb.TooLarge(&b[r.Settled], s.limit)})
			r.Settled++
			continue
		}
		err = s.write(ctx, b[r.Settled:r.Settled+n], batch, &r)
	}
	return r, err
}

// write writes messages, which batch has, and adds to the result what became of them.
func (s *sink) write(ctx context.Context, about bridge.Batch, batch *pluginpb.Batch, r *bridge.Result) error {
	n := len(about)
	var answer *pluginpb.WriteResponse
	var err error
	for {
		var among bool
		among, err = s.carrying(about, func() error {
			return s.interruptible(ctx, "write", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
				answer, err = s.process.calls.Write(ctx, &pluginpb.WriteRequest{Instance: s.number, Call: number, Batch: batch})
				return err
			})
		})
		if !among || ctx.Err() != nil {
			break
		}
		s.env.Logger.Warn("sink lost its plugin, opening another", "err", err)
		if s.instance, err = s.reopen(ctx); err != nil {
			return err
		}
	}
	late := errors.Is(err, errLate)
	if err != nil && !late {
		return err
	}
	settled := int(answer.GetSettled())
	if err := s.add(answer, settled, n, r); err != nil {
		return s.process.nonsense(fmt.Errorf("a result makes no sense: %w", err))
	}
	err = answer.GetError().Err()
	switch {
	case settled < n && late && (err == nil || errors.Is(err, context.Canceled)):
		return fmt.Errorf("plugin %q settled %d of %d messages within %s; limits: {call: …} of the plugin gives it more time",
			s.process.name, settled, n, s.process.limits.Call)
	case settled < n && err == nil && ctx.Err() != nil:
		return ctx.Err()
	case settled < n && err == nil:
		return s.process.nonsense(fmt.Errorf("it settled %d of %d messages and does not say why", settled, n))
	}
	return err
}

// add adds to r what became of the next n messages. An answer that makes no sense changes nothing.
func (s *sink) add(answer *pluginpb.WriteResponse, settled, n int, r *bridge.Result) error {
	if settled > n {
		return fmt.Errorf("it settled %d of %d messages", settled, n)
	}
	refused, err := pluginpb.Refusals(r.Refused, answer.GetRefused(), r.Settled, settled)
	if err != nil {
		return err
	}
	omitted, next := r.Omitted, 0
	for _, i := range answer.GetOmitted() {
		if int(i) < next || int(i) >= settled {
			return fmt.Errorf("it leaves out message %d of %d", i, settled)
		}
		next = int(i) + 1
		omitted = append(omitted, r.Settled+int(i))
	}
	r.Refused, r.Omitted = refused, omitted
	r.Settled += settled
	return nil
}
