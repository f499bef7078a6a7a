package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// reader reads files to their end, one after the other.
type reader struct {
	charset  charset
	most     int
	progress func(done, total int64)

	done, total int64 // bytes, as they are on the disk
	before      int64 // of them those of the files before this one

	mu     sync.Mutex // guards what follows
	paths  []string   // still to read, the first one perhaps begun
	file   *opened    // nil between two files
	at     int64      // in it, unpacked
	ended  bool       // file is read to its end
	broken error      // why it cannot be read any further
	lines  *framing.Splitter
	closed bool
}

var _ bridge.Source = (*reader)(nil)

// openReader opens a source of the files that are there now. Its errors are
// permanent: it would begin again with the first file and deliver that twice.
func openReader(s *SourceSettings, env bridge.Env, c charset) (bridge.Source, error) {
	r := &reader{charset: c, most: env.MaxBatch, progress: env.Progress, lines: newSplitter(s, c)}
	for _, p := range s.matches() {
		info, err := os.Stat(p)
		if err != nil {
			return nil, bridge.Permanent(fmt.Errorf("open: %w%s", err, mend(err)))
		}
		switch err := regular(p, info); {
		case info.IsDir() || s.old(info):
			continue
		case err != nil:
			return nil, bridge.Permanent(err)
		}
		r.paths = append(r.paths, p)
		r.total += info.Size()
	}
	if len(r.paths) == 0 {
		return nil, bridge.Permanent(fmt.Errorf("no file matches %s: with follow: true the source waits for one",
			strings.Join(s.Path, ", ")))
	}
	r.progress(0, r.total)
	return r, nil
}

// newSplitter returns what cuts files into lines.
func newSplitter(s *SourceSettings, c charset) *framing.Splitter {
	lines := framing.NewSplitter(int(s.MaxLine))
	lines.Truncate, lines.Newline, lines.Text = s.LongLines == "truncate", c.newline, c.decode
	lines.Use(s.Codec)
	return lines
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
		_, before := r.lines.Taken()
		batch, ack, long := r.lines.Lines(r.paths[0], r.most, r.ended)
		if len(batch) > 0 {
			return batch, ack, finish(r.lines, r.charset, batch, long, before == 0, r.paths[0], 0)
		}
		if err := r.lines.Err(); err != nil {
			return nil, nil, bridge.Permanent(fmt.Errorf("%s: %w", r.paths[0], err))
		}
		switch {
		case r.broken != nil:
			return nil, nil, r.broken
		case r.ended:
			r.leave()
		default:
			r.broken = r.fill()
		}
	}
}

// next opens the next file.
func (r *reader) next() error {
	if len(r.paths) == 0 {
		return io.EOF
	}
	f, err := open(r.paths[0])
	if err != nil {
		return bridge.Permanent(fmt.Errorf("open: %w%s", err, mend(err)))
	}
	r.file, r.at, r.before, r.ended = f, 0, r.done, false
	r.lines.Reset()
	r.lines.Table = nil
	return nil
}

func (r *reader) fill() error {
	n, err := r.file.ReadAt(r.lines.Room(), r.at)
	r.lines.Filled(n)
	r.at += int64(n)
	r.ended = errors.Is(err, io.EOF)
	r.done = r.before + r.file.taken(r.at)
	r.progress(r.done, max(r.done, r.total)) // it may have grown
	switch {
	case err == nil || r.ended:
		return nil
	case r.file.packed:
		return bridge.Permanent(fmt.Errorf("unpack %s, behind byte %d of what is in it: %w: "+
			"the file is damaged or not whole", r.paths[0], r.at, err))
	}
	return bridge.Permanent(err)
}

func (r *reader) leave() {
	r.file.close()
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
