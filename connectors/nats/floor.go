package nats

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// position is what is saved of a consumer: up to where its messages are acknowledged. It is the
// consumer's own business, and for the case that somebody deletes that, or the stream.
type position struct {
	Durable string    `json:"durable"`
	Stream  string    `json:"stream"`
	Made    time.Time `json:"made"`   // the stream
	Floor   uint64    `json:"floor"`  // everything up to this sequence number is acknowledged
	Unread  uint64    `json:"unread"` // messages that the stream had behind that
	Shared  bool      `json:"shared"` // others have read with the same durable
}

const (
	keepEvery   = 10 * time.Second
	keepTimeout = 5 * time.Second
)

// lastPosition returns the position of the instance before, nil if none is known.
func lastPosition(ctx context.Context, s *SourceSettings, env bridge.Env) (*position, error) {
	data, err := env.Checkpoint.Load(ctx)
	var p position
	if err != nil || json.Unmarshal(data, &p) != nil || p.Durable != s.durable(env) || p.Stream != s.stream() {
		return nil, err
	}
	return &p, nil
}

// floor finds out up to where the messages of a consumer are acknowledged. The consumer knows, but
// cannot be asked when it is gone: then it counts what went through here, as long as no other
// instance has taken messages of which nobody here knows the end.
type floor struct {
	acknowledged uint64 // as the consumer said last
	foreign      uint64 // newest message that may have gone to others
	next         uint64 // of the consumer's count of deliveries, if all come here
	newest       uint64 // that was read here
	shared       bool   // others have taken messages, here or before
}

func newFloor(info *jetstream.ConsumerInfo) floor {
	f := floor{acknowledged: info.AckFloor.Stream, next: info.Delivered.Consumer + 1}
	if info.NumAckPending > 0 {
		f.foreign = info.Delivered.Stream
	}
	return f
}

// read notes that a batch has come.
func (f *floor) read(replies []string) {
	number, _, nth := delivery(replies[0])
	last, _, end := delivery(replies[len(replies)-1])
	f.newest = max(f.newest, parse(number), parse(last))
	if n := parse(nth); n != f.next || parse(end) != n+uint64(len(replies))-1 {
		f.foreign, f.shared = f.newest, true
	}
	f.next = parse(end) + 1
}

// of returns the floor, when these messages are not acknowledged.
func (f *floor) of(unsettled []string) uint64 {
	if f.acknowledged < f.foreign {
		return f.acknowledged
	}
	n := f.newest
	for _, reply := range unsettled {
		n = min(n, sequence(reply)-1)
	}
	return max(n, f.acknowledged)
}

// keep saves the position, if it has changed. When ctx is done, the server is not asked for it any
// more.
func (p *pull) keep(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	now := p.position
	if !p.conn.IsClosed() {
		if info, err := p.consumer.Info(asking); err == nil {
			p.held.acknowledged(info.AckFloor.Stream)
			now.Unread = info.NumPending + uint64(info.NumAckPending)
		}
	}
	now.Floor, now.Shared = p.held.position()
	if now == p.position && p.kept {
		return
	}
	p.position = now
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	data, err := json.Marshal(p.position)
	if err == nil {
		err = p.env.Checkpoint.Save(saving, data)
	}
	if p.kept = err == nil; err != nil && !p.warned {
		p.warned = true
		p.env.Logger.Warn("cannot save how far the consumer has come: if it is deleted now, "+
			"messages come again or are left out, as deliver says", "err", err)
	}
}
