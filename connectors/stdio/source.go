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
	mu       sync.Mutex // held by Read, so that Close gives nothing back that is in use
	stream   *stream
	limit    int
	most     int
	once     sync.Once
	closed   chan struct{}
	giveBack func()
}

var _ bridge.Measurable = (*source)(nil)

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.interrupted(ctx); err != nil {
			return nil, nil, err
		}
		batch, ack, err := s.stream.lines.Lines("", s.most, s.limit, s.stream.ended)
		if errors.Is(err, framing.ErrTooLong) {
			lines, _ := s.stream.lines.Taken()
			err = bridge.Permanent(fmt.Errorf("line %d of stdin is longer than max_line, which is %v", lines+1, bridge.Size(s.limit)))
		}
		if len(batch) > 0 || err != nil {
			return batch, ack, err
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
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return os.ErrClosed
	}
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

func (s *source) Progress() (done, total int64) { return s.stream.done.Load(), s.stream.size }

func (s *source) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.giveBack()
	})
	return nil
}
