package stdio

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// output is standard output, shared by all sinks.
type output struct {
	mu     sync.Mutex // guards writer
	writer *writer
}

func (o *output) open(env bridge.Env) *sink {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writer == nil || o.writer.to != env.Stdout {
		o.writer = newWriter(env.Stdout)
	}
	return &sink{writer: o.writer, closed: make(chan struct{})}
}

// writer writes lines, one batch after the other. A write that has begun goes on
// after its caller has left, and the next one waits for it.
type writer struct {
	to     io.Writer
	blocks bool          // writing may take for ever
	turn   chan struct{} // holds an element while somebody writes, who may use the fields below
	buf    []byte
	torn   bool // the last line written lacks its end
}

func newWriter(to io.Writer) *writer {
	w := &writer{to: to, blocks: true, turn: make(chan struct{}, 1)}
	if f, ok := to.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			w.blocks = false
		}
	}
	return w
}

// write writes messages from the front of batch, about a chunk, and returns how many.
func (w *writer) write(ctx context.Context, batch bridge.Batch, closed <-chan struct{}) (int, error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-closed:
		return 0, os.ErrClosed
	}
	lead := 0
	w.buf = w.buf[:0]
	if w.torn {
		w.buf, lead = append(w.buf, '\n'), 1
	}
	w.buf, _ = framing.Append(w.buf, batch)
	r, err := w.flush(ctx, closed)
	if err != nil {
		return 0, err
	}
	n, _ := framing.Whole(batch, max(0, r.n-lead))
	return n, r.err
}

// flush writes the buffer and gives the turn back, later if it does not wait.
func (w *writer) flush(ctx context.Context, closed <-chan struct{}) (result, error) {
	if !w.blocks {
		return w.writeOut(), nil
	}
	done := make(chan result, 1)
	go func() { done <- w.writeOut() }()
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return result{}, ctx.Err()
	case <-closed:
		return result{}, os.ErrClosed
	}
}

func (w *writer) writeOut() result {
	n, err := w.to.Write(w.buf)
	if n > 0 {
		w.torn = w.buf[n-1] != '\n'
	}
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	<-w.turn
	return result{n, err}
}
