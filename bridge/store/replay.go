package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Replay says which dead letters of a pipeline are to be delivered again.
type Replay struct {
	Pipeline string
	Instance string // that refused them
	Choice
	Whole bool   // only messages that are
	Last  uint64 // up to that number; 0: all that there are now

	// Edit, if not nil, changes the message of a letter before it is delivered. A letter for which it
	// fails stays.
	Edit func(context.Context, *Letter) error
}

// Choice says which dead letters are meant. The zero value means all.
type Choice struct {
	Numbers []uint64 // only these; none: all
	Reason  string   // only those whose reason has this text, in capitals or not
}

// Has reports whether a letter is meant.
func (c Choice) Has(l *Letter) bool {
	return (len(c.Numbers) == 0 || slices.Contains(c.Numbers, l.Number)) &&
		strings.Contains(strings.ToLower(l.Reason), strings.ToLower(c.Reason))
}

// replayBytes is how much one batch of a replay may have.
const replayBytes = 8 << 20

// Replay returns a source of the messages that became dead letters until now, as they were, and a
// function that returns a sink for those that fail again, at an instance of the pipeline. A letter
// whose message was delivered is gone; one that failed again at the same instance is replaced by a
// new one, with the time of its first failure and all attempts.
func (s *Store) Replay(r Replay) (letters bridge.Endpoint[bridge.Source],
	failed func(instance string) bridge.Endpoint[bridge.Sink],
) {
	p := &replaying{Replay: r, store: s}
	letters = bridge.Endpoint[bridge.Source]{Type: "dead letters", Open: p.openSource, KeepIDs: true}
	dead := s.DeadLetters(r.Pipeline)
	return letters, func(instance string) bridge.Endpoint[bridge.Sink] {
		return bridge.Endpoint[bridge.Sink]{
			Type: dead.Type,
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
				sink, err := dead.Open(ctx, env)
				return again{p, sink, instance}, err
			},
		}
	}
}

// replaying is what the two ends of a replay share.
type replaying struct {
	Replay
	store *Store

	mu  sync.Mutex // guards out
	out []*Letter  // read, and neither delivered nor failed again
}

func (p *replaying) openSource(ctx context.Context, env bridge.Env) (bridge.Source, error) {
	n, err := p.store.open(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := n.js.Stream(ctx, p.store.names.dead())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &replay{replaying: p, done: true}, nil
	}
	if err != nil {
		return nil, n.failed(ctx, "read the dead letters", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, n.failed(ctx, "read the dead letters", err)
	}
	return &replay{
		replaying: p, session: n, stream: stream, next: 1, last: cmp.Or(p.Last, info.State.LastSeq),
		most: env.MaxBatch,
	}, nil
}

// replay is the source.
type replay struct {
	*replaying
	session    *session
	stream     jetstream.Stream
	next, last uint64
	most       int
	done       bool
}

func (r *replay) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	var batch bridge.Batch
	var letters []*Letter
	for size := 0; !r.done && len(batch) < r.most && size < replayBytes; {
		l, err := r.store.letter(ctx, r.session, r.Pipeline, r.next)
		if err != nil {
			return nil, nil, err
		}
		if l == nil || l.Number > r.last {
			r.done = true
			break
		}
		r.next = l.Number + 1
		if l.Instance != r.Instance || !r.Has(l) || r.Whole && l.Incomplete || r.Edit != nil && r.Edit(ctx, l) != nil {
			continue
		}
		batch, letters = append(batch, l.Message()), append(letters, l)
		size += len(l.Payload)
	}
	if len(batch) == 0 {
		return nil, nil, io.EOF
	}
	r.mu.Lock()
	r.out = append(r.out, letters...)
	r.mu.Unlock()
	return batch, func(ctx context.Context, refused error) error {
		r.mu.Lock()
		r.out = slices.DeleteFunc(r.out, func(l *Letter) bool { return slices.Contains(letters, l) })
		r.mu.Unlock()
		if refused != nil {
			return nil //nolint:nilerr // they stay where they are
		}
		for _, l := range letters {
			if err := r.stream.DeleteMsg(ctx, l.Number); err != nil {
				return fmt.Errorf("take out dead letter %d, which was delivered: %w", l.Number, err)
			}
		}
		return nil
	}, nil
}

func (r *replay) Close() error { return nil }

// again is the sink. It gives letters their history back.
type again struct {
	*replaying
	sink     bridge.Sink
	instance string // that refused them
}

func (a again) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	told := slices.Clone(batch)
	for i := range told {
		var d bridge.DeadLetter
		if err := json.Unmarshal(told[i].Payload, &d); err != nil {
			return bridge.Result{}, bridge.Permanent(fmt.Errorf("read a dead letter: %w", err))
		}
		d.Pipeline, d.Instance = a.Pipeline, a.instance
		if before := a.find(&d); before != nil {
			d.First, d.Attempts = before.First, before.Attempts+d.Attempts
		}
		text, err := d.Encode()
		if err != nil {
			return bridge.Result{}, bridge.Permanent(err)
		}
		told[i].Payload = text
	}
	return a.sink.Write(ctx, told)
}

// find returns the letter that has become d.
func (a again) find(d *bridge.DeadLetter) *Letter {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := slices.IndexFunc(a.out, func(l *Letter) bool {
		return l.Instance == d.Instance && (l.ID == "" || l.ID == d.ID) && l.Topic == d.Topic &&
			bytes.Equal(l.Payload, d.Payload)
	})
	if at < 0 {
		return nil
	}
	l := a.out[at]
	a.out = slices.Delete(a.out, at, at+1)
	return l
}

func (a again) Close() error { return a.sink.Close() }
