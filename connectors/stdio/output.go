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

func (o *output) open(form framing.Form, env bridge.Env) *sink {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writer == nil || o.writer.to != env.Stdout {
		o.writer = newWriter(env.Stdout)
	}
	return &sink{writer: o.writer, form: form, closed: make(chan struct{})}
}

// writer writes lines, one batch after the other. A write that has begun goes on
// after its caller has left, and the next one waits for it.
type writer struct {
	to     io.Writer
	blocks bool          // writing may take for ever
	turn   chan struct{} // holds an element while somebody writes, who may use the fields below
	block  framing.Block
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

// write writes messages from the front of batch, about a chunk, and returns what became of them.
func (w *writer) write(ctx context.Context, form *framing.Form, batch bridge.Batch,
	closed <-chan struct{},
) (done bridge.Result, err error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return done, ctx.Err()
	case <-closed:
		return done, os.ErrClosed
	}
	w.block.Buf = w.block.Buf[:0]
	if w.torn {
		w.block.Buf = append(w.block.Buf, '\n')
	}
	lead := len(w.block.Buf)
	done.Settled = w.block.Fill(form, batch)
	done.Refused = w.block.Refused
	if len(w.block.Buf) == lead {
		<-w.turn
		return done, nil
	}
	r, err := w.flush(ctx, closed)
	if err != nil {
		return bridge.Result{}, err
	}
	if r.err != nil {
		done.Settled = r.n
		done.Refused, _ = done.Refused.Cut(done.Settled)
	}
	return done, r.err
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

// writeOut writes the buffer; the result says how many messages of it are done with.
func (w *writer) writeOut() result {
	buf := w.block.Buf
	n, err := w.to.Write(buf)
	if n > 0 {
		w.torn = buf[n-1] != '\n'
	}
	if err == nil && n < len(buf) {
		err = io.ErrShortWrite
	}
	whole := w.block.Whole(n)
	<-w.turn
	return result{whole, err}
}
