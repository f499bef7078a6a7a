package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

type sink struct {
	settings SinkSettings
	dir      string // what every path begins with
	name     string // of the one file, or empty if the path is a template
	folder   *folder
	most     int // files that are open at once
	log      *slog.Logger

	mu       sync.Mutex // guards what follows
	files    map[string]*target
	last     *target // of the last message of the current Write
	lastPath string
	touched  []*target // by the current Write
	scratch  []byte    // of a message that is encoded
	err      error     // why the sink can no more be used
	timer    *time.Timer
}

var _ bridge.Sink = (*sink)(nil)

func openSink(_ context.Context, settings *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	dir, name, err := split(settings.Path)
	if err != nil {
		return nil, err
	}
	mode, err := settings.mode()
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	s := &sink{
		settings: *settings, dir: dir, name: name, most: min(128, max(4, mayOpen()/8)), log: env.Logger,
		files: make(map[string]*target),
	}
	if s.folder, err = openFolder(cmp.Or(dir, "."), settings.Sync, mode); err != nil {
		return nil, s.hopeless(err)
	}
	if name != "" {
		if _, err := s.open(name, nil); err != nil {
			return nil, errors.Join(s.hopeless(err), s.Close())
		}
	}
	s.rotateLater()
	return s, nil
}

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (r bridge.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return r, err
	}
	r.Settled, err = s.fill(ctx, batch, &r.Refused)
	taken, failure := r.Settled, s.finish()
	for _, t := range s.touched {
		r.Settled = t.undelivered(r.Settled)
		if t.failed {
			s.err = errors.New("the sink failed before")
		}
		t.reset()
	}
	if r.Settled < taken && failure != nil {
		err = failure // which concerns the first message not settled, as the error of fill may not
	}
	for n := len(r.Refused); n > 0 && r.Refused[n-1].Index >= r.Settled; n-- {
		r.Refused = r.Refused[:n-1]
	}
	s.touched, s.last = s.touched[:0], nil
	return r, err
}

// fill hands messages to their files, and returns how many. Those that have no place there are
// refused.
func (s *sink) fill(ctx context.Context, batch bridge.Batch, refused *bridge.Refusals) (int, error) {
	now := time.Now()
	since := s.settings.Rotate.since(now)
	for i := range batch {
		text, err := s.settings.Text(s.scratch[:0], &batch[i])
		if err != nil {
			*refused = append(*refused, bridge.Refusal{Index: i, Err: err})
			continue
		}
		if e := s.settings.Encode; e == "json" || e == "base64" {
			s.scratch = text
		}
		t, err := s.target(&batch[i])
		if isNameError(err) && s.name == "" {
			*refused = append(*refused, bridge.Refusal{Index: i, Err: err})
			continue
		}
		if err == nil && s.settings.Rotate.due(t, len(text)+1, since) {
			err = s.rotate(t, now)
		}
		if err != nil {
			return i, s.hopeless(err)
		}
		t.add(i, text)
		if len(t.buf) >= framing.Chunk {
			if err := cmp.Or(t.flush(), ctx.Err()); err != nil {
				return i + 1, err
			}
		}
	}
	return len(batch), nil
}

// hopeless marks errors that another instance would meet, too.
func (s *sink) hopeless(err error) error {
	if isNameError(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return bridge.Permanent(fmt.Errorf("%w%s", err, mend(err)))
	}
	return err
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
			return nil, &nameError{fmt.Errorf("render path: %w", err)}
		}
		if s.last != nil && path == s.lastPath {
			return s.last, nil
		}
		if name, err = s.folder.name(path, s.dir); err != nil {
			return nil, err
		}
		if s.settings.Rotate.Keep > 0 && isRotated(name) {
			return nil, &nameError{fmt.Errorf("path %q ends as those of rotated files do, "+
				"of which rotate.keep removes some", path)}
		}
	}
	t, err := s.touch(name, m)
	if err == nil {
		s.last, s.lastPath = t, path
	}
	return t, err
}

// touch makes the file one that the current Write uses.
func (s *sink) touch(name string, m *bridge.Message) (*target, error) {
	t := s.files[name]
	if t != nil && !t.touched && !t.current(s.folder) {
		s.log.Warn("output file was moved or removed, making it anew", "path", t.path)
		delete(s.files, name)
		_ = t.file.Close()
		t = nil
	}
	if t == nil {
		var err error
		if t, err = s.open(name, m); err != nil {
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
	if s.timer != nil {
		s.timer.Stop()
	}
	err := errors.Join(s.closeFiles(), s.folder.root.Close())
	s.folder = nil
	return err
}
