package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// reader calls Read of a source, which may take longer than a call of the bridge, and
// cuts what it returned into pieces that fit into an answer. What a call did not fetch waits for the next one.
type reader struct {
	mu     sync.Mutex         // held by the call that reads
	result chan result        // of the Read under way, nil if none is
	cancel context.CancelFunc // of it

	rest bridge.Batch // what is read and not fetched yet
	ack  bridge.Ack   // of rest, called once it is settled and all before it
	err  error        // for after rest
}

type result struct {
	batch bridge.Batch
	ack   bridge.Ack
	err   error
}

func (i *instance) read(ctx context.Context, r *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) {
	rd := &i.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if len(rd.rest) == 0 && rd.err == nil {
		wait := time.Duration(r.GetWaitMs()) * time.Millisecond
		if err := rd.fetch(ctx, i, r.GetCall(), wait); err != nil {
			return nil, err
		}
	}
	answer := new(pluginpb.ReadResponse)
	if len(rd.rest) > 0 {
		batch, n := pluginpb.NewBatch(rd.rest, i.limit)
		if n == 0 {
			rd.err = pluginpb.TooLarge(&rd.rest[0], i.limit)
			rd.rest = nil
			i.refuse(ctx, rd.err)
		} else {
			answer.Batch, answer.BatchId = batch, i.acks.add(rd.part(n))
		}
	}
	if len(rd.rest) == 0 && rd.err != nil {
		answer.Error = pluginpb.NewError(rd.err)
		rd.err = nil
	}
	answer.Dropped = i.dropped.Swap(0)
	if m, ok := i.source.(bridge.Measurable); ok {
		answer.BytesDone, answer.BytesTotal = m.Progress()
	}
	return answer, nil
}

// fetch waits for what the source returns, at most that long.
func (rd *reader) fetch(ctx context.Context, i *instance, call uint64, wait time.Duration) error {
	if rd.result == nil {
		reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
		rd.result, rd.cancel = make(chan result, 1), cancel
		go func(to chan<- result) {
			b, ack, err := i.source.Read(reading)
			to <- result{b, ack, err}
		}(rd.result)
	}
	interrupted, done := i.calls.begin(ctx, call)
	defer done()
	late := time.NewTimer(wait)
	defer late.Stop()
	var r result
	select {
	case r = <-rd.result:
	case <-late.C:
		return nil
	case <-interrupted.Done():
		if ctx.Err() != nil {
			return ctx.Err() // nobody waits for an answer
		}
		rd.cancel()
		r = <-rd.result
	}
	rd.cancel()
	rd.result = nil
	rd.rest, rd.ack, rd.err = r.batch, r.ack, r.err
	return nil
}

// part takes n messages off rest and returns their ack. The ack of a batch that went in several parts is called with the last.
func (rd *reader) part(n int) bridge.Ack {
	whole := n == len(rd.rest)
	rd.rest = rd.rest[n:]
	ack := rd.ack
	if whole {
		rd.ack = nil
		return ack
	}
	var mu sync.Mutex
	var failed error
	rd.ack = func(ctx context.Context, err error) error {
		mu.Lock()
		err = errors.Join(failed, err)
		mu.Unlock()
		return ack(ctx, err)
	}
	return func(_ context.Context, err error) error {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
		return nil
	}
}

// refuse settles what was read and cannot be sent.
func (i *instance) refuse(ctx context.Context, err error) {
	if ack := i.reader.ack; ack != nil {
		i.reader.ack = nil
		if err := ack(ctx, err); err != nil {
			i.env.Logger.Warn("refuse a batch", "err", err)
		}
	}
}

// drain ends the Read under way and refuses what was read and not fetched.
func (rd *reader) drain(ctx context.Context) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if rd.result != nil {
		rd.cancel()
		r := <-rd.result
		rd.result, rd.rest, rd.ack = nil, r.batch, r.ack
	}
	if rd.ack != nil {
		_ = rd.ack(ctx, errClosed) // the source is about to be closed, which says the same
	}
	rd.rest, rd.ack = nil, nil
}

var errClosed = errors.New("the instance was closed before the batch was fetched")
