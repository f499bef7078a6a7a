package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// reader reads files to their end, one after the other.
type reader struct {
	limit    int
	most     int
	progress func(done, total int64)

	done, total int64 // bytes

	mu     sync.Mutex // guards what follows
	paths  []string   // still to read, the first one perhaps begun
	file   *os.File   // nil between two files
	ended  bool       // file is read to its end
	lines  *framing.Splitter
	closed bool
}

var _ bridge.Source = (*reader)(nil)

// openReader opens a source of the files that are there now. Its errors are
// permanent: it would begin again with the first file and deliver that twice.
func openReader(s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	paths, err := matches(s.Path)
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	r := &reader{limit: int(s.MaxLine), most: env.MaxBatch, progress: env.Progress, lines: framing.NewSplitter()}
	folder := ""
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, bridge.Permanent(fmt.Errorf("open: %w%s", err, mend(err)))
		}
		if info.IsDir() {
			folder = p
			continue
		}
		if info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			// Reading it may block for ever, whatever the context says.
			return nil, bridge.Permanent(fmt.Errorf("%s is a pipe, not a file; the connector stdio reads pipes", p))
		}
		r.paths = append(r.paths, p)
		r.total += info.Size()
	}
	switch {
	case len(r.paths) > 0:
	case folder != "":
		return nil, bridge.Permanent(fmt.Errorf("%s is a folder: write a pattern for the files in it, such as %s", folder, filepath.Join(folder, "*")))
	default:
		return nil, bridge.Permanent(fmt.Errorf("no file matches %s: with follow: true the source waits for one", strings.Join(s.Path, ", ")))
	}
	r.progress(0, r.total)
	return r, nil
}

// mend says, behind an error, what to do about it, if that is clear.
func mend(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return ": let the user that the bridge runs as have access to it"
	}
	return ""
}

func (r *reader) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.closed {
			return nil, nil, os.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if r.file == nil {
			if err := r.next(); err != nil {
				return nil, nil, err
			}
		}
		batch, ack, long := r.lines.Lines(r.paths[0], r.most, r.limit, r.ended)
		if len(batch) > 0 {
			return batch, ack, refuse(long, r.limit, r.paths[0], 0)
		}
		if r.ended {
			r.leave()
		} else if err := r.fill(); err != nil {
			return nil, nil, err
		}
	}
}

// next opens the next file.
func (r *reader) next() error {
	if len(r.paths) == 0 {
		return io.EOF
	}
	f, err := os.Open(r.paths[0])
	if err != nil {
		return bridge.Permanent(fmt.Errorf("open: %w%s", err, mend(err)))
	}
	r.file, r.ended = f, false
	r.lines.Reset()
	return nil
}

func (r *reader) fill() error {
	n, err := r.file.Read(r.lines.Room())
	r.lines.Filled(n)
	if n > 0 {
		r.done += int64(n)
		r.progress(r.done, max(r.done, r.total)) // it may have grown
	}
	if err == io.EOF {
		r.ended = true
		return nil
	}
	if err != nil {
		return bridge.Permanent(err)
	}
	return nil
}

func (r *reader) leave() {
	_ = r.file.Close()
	r.file, r.paths = nil, r.paths[1:]
}

func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.file != nil {
		r.leave()
	}
	return nil
}
