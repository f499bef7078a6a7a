package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

type sink struct {
	writer *writer
	form   framing.Form
	once   sync.Once
	closed chan struct{}
}

var _ bridge.Sink = (*sink)(nil)

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (r bridge.Result, err error) {
	for r.Settled < len(batch) {
		if err := s.interrupted(ctx); err != nil {
			return r, err
		}
		done, err := s.writer.write(ctx, &s.form, batch[r.Settled:], s.closed)
		for _, d := range done.Refused {
			r.Refused = append(r.Refused, bridge.Refusal{Index: r.Settled + d.Index, Err: d.Err})
		}
		r.Settled += done.Settled
		if err != nil {
			return r, explain(err)
		}
	}
	return r, nil
}

func (s *sink) interrupted(ctx context.Context) error {
	select {
	case <-s.closed:
		return os.ErrClosed
	default:
		return ctx.Err()
	}
}

// explain says what is wrong with standard output. It cannot be opened again.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe):
		return bridge.Permanent(fmt.Errorf("stdout closed: %w", err))
	case errors.Is(err, syscall.ENOSPC):
		return bridge.Permanent(fmt.Errorf("stdout is full: %w", err))
	case errors.Is(err, syscall.EBADF): // not open for writing
		return bridge.Permanent(fmt.Errorf("write stdout: %w", err))
	}
	return fmt.Errorf("write stdout: %w", err)
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
