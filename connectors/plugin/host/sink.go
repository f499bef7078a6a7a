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

// NeedsID returns what the sink in the plugin says.
func (s sink) NeedsID() bool { return s.needsID }

func (s sink) Write(ctx context.Context, b bridge.Batch) (written int, err error) {
	for written < len(b) {
		batch, n := pluginpb.NewBatch(b[written:], s.limit)
		if n == 0 {
			return written, pluginpb.TooLarge(&b[written], s.limit)
		}
		w, err := s.write(ctx, batch, n)
		written += w
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// write writes n messages.
func (s sink) write(ctx context.Context, batch *pluginpb.Batch, n int) (int, error) {
	var answer *pluginpb.WriteResponse
	err := s.interruptible(ctx, "write", s.process.limits.Call, func(ctx context.Context, number uint64) (err error) {
		answer, err = s.process.calls.Write(ctx, &pluginpb.WriteRequest{Instance: s.number, Call: number, Batch: batch})
		return err
	})
	late := errors.Is(err, errLate)
	if err != nil && !late {
		return 0, err
	}
	s.count(answer.GetDropped())
	w := int(answer.GetWritten())
	err = answer.GetError().Err()
	switch {
	case w > n:
		return 0, fmt.Errorf("plugin %q says that it wrote %d of %d messages", s.process.name, w, n)
	case w < n && err == nil:
		return w, fmt.Errorf("plugin %q wrote %d of %d messages and does not say why", s.process.name, w, n)
	case w < n && late && errors.Is(err, context.Canceled):
		return w, fmt.Errorf("plugin %q wrote %d of %d messages within %s; limits: {call: …} of the plugin gives it more time",
			s.process.name, w, n, s.process.limits.Call)
	}
	return w, err
}
