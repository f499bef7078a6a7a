package plugin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// reader calls Read of a source, which may take longer than a call of the bridge, and cuts what it
// returned into pieces that fit into an answer. What a call did not fetch waits for the next one.
type reader struct {
	mu     sync.Mutex         // held by the call that reads
	result chan result        // of the Read under way, nil if none is
	cancel context.CancelFunc // of it

	rest bridge.Batch // what is read and not fetched yet
	ack  bridge.Ack   // of rest, called once it is settled and all before it
	err  error        // for after rest

	refused bridge.Refusals // of rest
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
			batch, n = rd.refuse(i.limit), 1
		}
		answer.Batch, answer.Refused = batch, rd.refusals(n)
		answer.BatchId = i.acks.add(rd.part(n))
	}
	if len(rd.rest) == 0 && len(answer.Refused) == 0 && rd.err != nil {
		answer.Error = pluginpb.NewError(rd.err)
		rd.err = nil
	}
	answer.Dropped = i.dropped.Swap(0)
	answer.BytesDone, answer.BytesTotal = i.done.Load(), i.total.Load()
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
	if refused, ok := r.err.(bridge.Refusals); ok { //nolint:errorlint // as the engine does
		rd.refused, rd.err = refused, nil
	}
	return nil
}

// refuse refuses the first message, which is too large for an answer, and returns what can be sent
// of it.
func (rd *reader) refuse(limit int) *pluginpb.Batch {
	m := rd.rest[0]
	if len(rd.refused) == 0 || rd.refused[0].Index > 0 {
		rd.refused = slices.Insert(rd.refused, 0, bridge.Refusal{Err: pluginpb.TooLarge(&m, limit)})
	}
	m.Payload = nil
	batch, n := pluginpb.NewBatch(bridge.Batch{m}, limit)
	if n == 0 {
		batch, _ = pluginpb.NewBatch(bridge.Batch{{Time: m.Time}}, limit)
	}
	return batch
}

// refusals takes off those of the first n messages.
func (rd *reader) refusals(n int) []*pluginpb.Refusal {
	k := 0
	for k < len(rd.refused) && rd.refused[k].Index < n {
		k++
	}
	now := pluginpb.NewRefusals(rd.refused[:k])
	rd.refused = slices.Clone(rd.refused[k:])
	for k := range rd.refused {
		rd.refused[k].Index -= n
	}
	return now
}

// part takes n messages off rest and returns their ack. The ack of a batch that went in several
// parts is called with the last.
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

// drain ends the Read under way and gives back what was read and not fetched.
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
