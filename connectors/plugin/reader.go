package plugin

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// reader cuts what Read of a source returned into pieces that fit into an answer. What a call did
// not fetch waits for the next one.
type reader struct {
	mu sync.Mutex // held by the call that reads

	rest     bridge.Batch     // what is read and not fetched yet
	portions *bridge.Portions // that it is fetched in
	err      error            // for after rest
	refused  bridge.Refusals  // of rest
}

func (i *instance) read(ctx context.Context, r *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) {
	rd := &i.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if len(rd.rest) == 0 && rd.err == nil {
		reading, done := i.calls.begin(ctx, r.GetCall())
		var ack bridge.Ack
		rd.rest, ack, rd.err = i.source.Read(reading)
		rd.portions = &bridge.Portions{Ack: ack}
		done()
		if refused, ok := rd.err.(bridge.Refusals); ok { //nolint:errorlint // as the engine does
			rd.refused, rd.err = refused, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err() // nobody waits for an answer
		}
	}
	answer := new(pluginpb.ReadResponse)
	if len(rd.rest) > 0 {
		batch, n := pluginpb.NewBatch(rd.rest, i.limit)
		if n == 0 {
			batch, n = rd.refuse(i.limit), 1
		}
		var refused bridge.Refusals
		refused, rd.refused = rd.refused.Cut(n)
		answer.Batch, answer.Refused = batch, pluginpb.NewRefusals(refused)
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

// part takes n messages off rest and returns their ack.
func (rd *reader) part(n int) bridge.Ack {
	rd.rest = rd.rest[n:]
	last := len(rd.rest) == 0
	ack := rd.portions.Next(n, last)
	if last {
		rd.portions = nil
	}
	return ack
}

// drain waits for the Read under way and gives back what was read and not fetched.
func (rd *reader) drain(ctx context.Context) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if len(rd.rest) > 0 {
		_ = rd.part(len(rd.rest))(ctx, errClosed) // the source is about to be closed, which says the same
	}
}

var errClosed = errors.New("the instance was closed before the batch was fetched")
