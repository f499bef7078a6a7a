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
)

type sink struct {
	writer *writer
	once   sync.Once
	closed chan struct{}
}

var _ bridge.Sink = (*sink)(nil)

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	for n := 0; n < len(batch); {
		if err := s.interrupted(ctx); err != nil {
			return n, err
		}
		taken, err := s.writer.write(ctx, batch[n:], s.closed)
		n += taken
		if err != nil {
			return n, explain(err)
		}
	}
	return len(batch), nil
}

func (s *sink) interrupted(ctx context.Context) error {
	select {
	case <-s.closed:
		return os.ErrClosed
	default:
		return ctx.Err()
	}
}

// explain says what is wrong with standard output.
func explain(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return bridge.Permanent(fmt.Errorf("stdout closed: %w", err))
	}
	if errors.Is(err, syscall.EBADF) { // not open for writing
		return bridge.Permanent(fmt.Errorf("write stdout: %w", err))
	}
	return fmt.Errorf("write stdout: %w", err)
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
