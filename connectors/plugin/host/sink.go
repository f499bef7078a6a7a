package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

type sink struct{ *instance }

func newSink(_ opener[bridge.Sink], _ any, i *instance) bridge.Sink { return sink{i} }

// Write sends what is too large for one request in several.
func (s sink) Write(ctx context.Context, b bridge.Batch) (r bridge.Result, err error) {
	for r.Settled < len(b) && err == nil {
		batch, n := pluginpb.NewBatch(b[r.Settled:], s.limit)
		if n == 0 {
			r.Refused = append(r.Refused, bridge.Refusal{Index: r.Settled, Err: pluginpb.TooLarge(&b[r.Settled], s.limit)})
			r.Settled++
			continue
		}
		err = s.write(ctx, batch, n, &r)
	}
	return r, err
}

// write writes n messages, and adds to the result what became of them.
func (s sink) write(ctx context.Context, batch *pluginpb.Batch, n int, r *bridge.Result) error {
	var answer *pluginpb.WriteResponse
	err := s.interruptible(ctx, "write", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		answer, err = s.process.calls.Write(ctx, &pluginpb.WriteRequest{Instance: s.number, Call: number, Batch: batch})
		return err
	})
	late := errors.Is(err, errLate)
	if err != nil && !late {
		return err
	}
	settled := int(answer.GetSettled())
	if err := s.add(answer, settled, n, r); err != nil {
		return fmt.Errorf("plugin %q, a result makes no sense: %w", s.process.name, err)
	}
	err = answer.GetError().Err()
	switch {
	case settled < n && err == nil:
		return fmt.Errorf("plugin %q settled %d of %d messages and does not say why", s.process.name, settled, n)
	case settled < n && late && errors.Is(err, context.Canceled):
		return fmt.Errorf("plugin %q settled %d of %d messages within %s; limits: {call: …} of the plugin gives it more time",
			s.process.name, settled, n, s.process.limits.Call)
	}
	return err
}

// add adds to r what became of the next n messages. An answer that makes no sense changes nothing.
func (s sink) add(answer *pluginpb.WriteResponse, settled, n int, r *bridge.Result) error {
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
