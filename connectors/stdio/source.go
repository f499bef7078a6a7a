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

type source struct {
	mu     sync.Mutex // held by Read, so that Close gives nothing back that is in use
	stream *stream
	codec  framing.Codec
	most   int
	once   sync.Once
	closed chan struct{}
}

var _ bridge.Source = (*source)(nil)

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.interrupted(ctx); err != nil {
			return nil, nil, err
		}
		lines := s.stream.lines
		_, before := lines.Taken()
		batch, ack, long := lines.Lines("", s.most, s.stream.ended)
		if len(batch) > 0 {
			if s.codec.Kind != "whole" {
				framing.Trim(batch, before == 0)
			}
			return batch, ack, lines.Finish(batch, long, func(l framing.Long) string {
				return fmt.Sprintf("%s %d of stdin", s.codec.Of(), l.Line)
			})
		}
		if err := lines.Err(); err != nil {
			return nil, nil, bridge.Permanent(fmt.Errorf("stdin: %w", err))
		}
		if s.stream.ended {
			return nil, nil, io.EOF
		}
		if err := s.fill(ctx); err != nil {
			return nil, nil, err
		}
	}
}

func (s *source) interrupted(ctx context.Context) error {
	select {
	case <-s.closed:
		return os.ErrClosed
	default:
		return ctx.Err()
	}
}

func (s *source) fill(ctx context.Context) error {
	s.stream.start()
	select {
	case r := <-s.stream.results:
		if err := s.stream.finish(r); err != nil {
			return explainRead(err)
		}
	case <-ctx.Done():
	case <-s.closed:
	}
	return s.interrupted(ctx)
}

// explainRead says what is wrong with standard input. It cannot be opened again, so that a
// descriptor of the wrong kind stays wrong.
func explainRead(err error) error {
	err = fmt.Errorf("read stdin: %w", err)
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EBADF) {
		return bridge.Permanent(err)
	}
	return err
}

func (s *source) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stream.giveBack()
	})
	return nil
}
