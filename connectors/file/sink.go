package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// maxOpen is how many files a sink with a templated path keeps open.
const maxOpen = 128

type sink struct {
	settings SinkSettings
	dir      string // what every path begins with
	name     string // of the one file, or empty if the path is a template
	folder   *folder
	log      *slog.Logger

	mu       sync.Mutex // guards what follows
	files    map[string]*target
	last     *target // of the last message of the current Write
	lastPath string
	touched  []*target // by the current Write
	err      error     // why the sink can no more be used
}

var _ bridge.Sink = (*sink)(nil)

func openSink(_ context.Context, settings *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	dir, name, err := split(settings.Path)
	if err != nil {
		return nil, err
	}
	folder, err := openFolder(cmp.Or(dir, "."), settings.Sync)
	if err != nil {
		return nil, err
	}
	s := &sink{settings: *settings, dir: dir, name: name, folder: folder, log: env.Logger, files: make(map[string]*target)}
	if name != "" {
		if _, err := s.open(name); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return 0, err
	}
	taken, err := s.fill(ctx, batch)
	failure := s.finish()
	n := taken
	for _, t := range s.touched {
		n = t.undelivered(n)
		if t.failed {
			s.err = errors.New("the sink failed before")
		}
		t.reset()
	}
	if n < taken && failure != nil {
		err = failure // which concerns message n, as the error of fill may not
	}
	s.touched, s.last = s.touched[:0], nil
	return n, err
}

// fill hands messages to their files, and returns how many.
func (s *sink) fill(ctx context.Context, batch bridge.Batch) (int, error) {
	now := time.Now()
	for i := range batch {
		t, err := s.target(&batch[i])
		if err != nil {
			return i, err
		}
		if s.settings.Rotate.due(t, len(batch[i].Payload)+1, now) {
			if err := s.rotate(t, now); err != nil {
				return i, err
			}
		}
		t.add(i, batch[i].Payload)
		if len(t.buf) >= framing.Chunk {
			if err := cmp.Or(t.flush(), ctx.Err()); err != nil {
				return i + 1, err
			}
		}
	}
	return len(batch), nil
}

// finish writes what fill left and makes everything certain that was written,
// as far as it can. It returns the first error.
func (s *sink) finish() (first error) {
	for _, t := range s.touched {
		if !t.failed {
			first = cmp.Or(first, t.flush())
		}
		first = cmp.Or(first, t.settle(s.settings.Sync))
	}
	return first
}

// target returns the open file for m.
func (s *sink) target(m *bridge.Message) (*target, error) {
	if s.last != nil && s.name != "" {
		return s.last, nil
	}
	name, path := s.name, ""
	if name == "" {
		var err error
		if path, err = s.settings.Path.Render(m); err != nil {
			return nil, bridge.Permanent(fmt.Errorf("render path: %w", err))
		}
		if s.last != nil && path == s.lastPath {
			return s.last, nil
		}
		if name, err = s.folder.name(path, s.dir); err != nil {
			return nil, err
		}
	}
	t, err := s.touch(name)
	s.last, s.lastPath = t, path
	return t, err
}

// touch makes the file one that the current Write uses.
func (s *sink) touch(name string) (*target, error) {
	t := s.files[name]
	if t != nil && !t.touched && !t.current(s.folder) {
		s.log.Warn("output file was moved or removed, making it anew", "path", t.path)
		delete(s.files, name)
		_ = t.file.Close()
		t = nil
	}
	if t == nil {
		var err error
		if t, err = s.open(name); err != nil {
			return nil, err
		}
	}
	if !t.touched {
		t.touched = true
		s.touched = append(s.touched, t)
	}
	return t, nil
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folder == nil {
		return nil
	}
	s.err = os.ErrClosed
	err := errors.Join(s.closeFiles(), s.folder.root.Close())
	s.folder = nil
	return err
}
