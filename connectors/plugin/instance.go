package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// instance is an open source, sink or step.
type instance struct {
	role    pluginpb.Role
	env     bridge.Env
	limit   int // bytes of a batch
	calls   calls
	dropped atomic.Uint64
	needsID atomic.Bool

	source bridge.Source
	sink   bridge.Sink
	step   bridge.Step
	runner bridge.StepRunner // of step

	done, total atomic.Int64 // bytes of the input of a source

	reader     reader      // of a source
	acks       acks        // of a source
	checkpoint *checkpoint // of a source, nil for others
}

func newInstance(r *pluginpb.OpenRequest, log *slog.Logger, limit int) *instance {
	i := &instance{role: r.GetRole(), limit: limit}
	i.env = bridge.Env{
		Pipeline: r.GetPipeline(),
		Instance: r.GetInstance(),
		Logger:   log.With("pipeline", r.GetPipeline(), "instance", r.GetInstance()),
		Stdin:    strings.NewReader(""),
		Stdout:   logged{log},
		MaxBatch: max(1, int(min(r.GetMaxBatch(), 1<<20))),
		Dropped:  func(n int) { i.dropped.Add(uint64(max(0, n))) },
		NeedID:   func() { i.needsID.Store(true) },
		Progress: func(done, total int64) {
			i.done.Store(done)
			i.total.Store(total)
		},
	}
	if i.role == pluginpb.Role_SOURCE {
		i.checkpoint = newCheckpoint(r.GetCheckpoint())
		i.env.Checkpoint = i.checkpoint
		i.acks.pending = make(map[uint64]bridge.Ack)
	}
	return i
}

func (i *instance) open(ctx context.Context, c bridge.Connector, role pluginpb.Role, settings any) (err error) {
	switch role {
	case pluginpb.Role_SOURCE:
		i.source, err = c.Source.Open(ctx, settings, i.env)
	case pluginpb.Role_SINK:
		i.sink, err = c.Sink.Open(ctx, settings, i.env)
	default:
		i.step, err = c.Step.Open(ctx, settings, i.env)
	}
	return err
}

// guard makes a panic over messages an error, as an exception is in other languages: by it the
// bridge finds the message that is at fault, and others in this process go on.
func (i *instance) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			i.env.Logger.Error("panic in a connector", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// close frees the instance.
func (i *instance) close(ctx context.Context) error {
	i.calls.interruptAll()
	switch {
	case i.source != nil:
		return i.closeSource(ctx)
	case i.sink != nil:
		return i.sink.Close()
	case i.step != nil:
		return i.step.Close()
	}
	return nil
}

// drainGrace is how long a Read has to return before Close must make it.
const drainGrace = time.Second

// closeSource closes the source. What was read and not fetched is given back, before that if Read
// lets us.
func (i *instance) closeSource(ctx context.Context) error {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		i.reader.drain(ctx)
	}()
	late := time.NewTimer(drainGrace)
	defer late.Stop()
	select {
	case <-drained:
	case <-late.C:
	}
	err := i.source.Close()
	i.checkpoint.close()
	select {
	case <-drained:
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
	return err
}

// calls are those of an instance that Interrupt can end.
type calls struct {
	mu     sync.Mutex // guards cancel
	cancel map[uint64]context.CancelFunc
}

func (c *calls) begin(ctx context.Context, number uint64) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		c.cancel = make(map[uint64]context.CancelFunc)
	}
	c.cancel[number] = cancel
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		cancel()
		delete(c.cancel, number)
	}
}

func (c *calls) interrupt(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.cancel[number]; cancel != nil {
		cancel()
	}
}

func (c *calls) interruptAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.cancel {
		cancel()
	}
}

// acks are those that the bridge has not called.
type acks struct {
	mu      sync.Mutex // guards the rest
	last    uint64
	pending map[uint64]bridge.Ack
}

func (a *acks) add(ack bridge.Ack) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	a.pending[a.last] = ack
	return a.last
}

func (a *acks) take(number uint64) bridge.Ack {
	a.mu.Lock()
	defer a.mu.Unlock()
	ack := a.pending[number]
	delete(a.pending, number)
	return ack
}

func (i *instance) ack(ctx context.Context, r *pluginpb.AckRequest) (*pluginpb.AckResponse, error) {
	ack := i.acks.take(r.GetBatchId())
	if ack == nil {
		return &pluginpb.AckResponse{Error: pluginpb.NewError(
			fmt.Errorf("batch %d is not waiting for an ack", r.GetBatchId()))}, nil
	}
	err := ack(ctx, bridge.GiveBack(int(r.GetSettled()), r.GetError().Err()))
	return &pluginpb.AckResponse{Error: pluginpb.NewError(err), Dropped: i.dropped.Swap(0)}, nil
}

// logged writes lines to the log.
type logged struct{ log *slog.Logger }

func (l logged) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		l.log.Info(strings.TrimRight(line, "\r\n"), "from", "stdout") //nolint:sloglint // the connector's own words
	}
	return len(p), nil
}
