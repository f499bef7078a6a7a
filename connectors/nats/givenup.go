package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// advisory is what JetStream says of a message that a consumer does not get any more.
type advisory struct {
	Type       string `json:"type"`
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Sequence   uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Reason     string `json:"reason"`
}

// The types of advisories that are about such messages.
const (
	exceeded   = "io.nats.jetstream.advisory.v1.max_deliver"
	terminated = "io.nats.jetstream.advisory.v1.terminated"
)

// why says what has become of the message; nil: this is about something else. Who may publish to
// some subject does not choose another stream or consumer than that names.
func (a advisory) why(subject string) error {
	about := a.Stream != "" && a.Sequence > 0 && checkName("", a.Stream) == nil &&
		strings.HasSuffix(subject, "."+a.Stream+"."+a.Consumer)
	switch {
	case !about:
	case a.Type == exceeded:
		return fmt.Errorf("not processed in %d deliveries by consumer %q of stream %q",
			a.Deliveries, a.Consumer, a.Stream)
	case a.Type == terminated && a.Reason != "":
		return fmt.Errorf("ended by consumer %q of stream %q: %q", a.Consumer, a.Stream, a.Reason)
	case a.Type == terminated:
		return fmt.Errorf("ended by consumer %q of stream %q", a.Consumer, a.Stream)
	}
	return nil
}

// givenUp is a source of messages that consumers have given up, which it refuses: Source reads
// advisories of that, and the messages are still in their streams.
type givenUp struct {
	bridge.Source
	conn    *conn
	env     bridge.Env
	streams map[string]jetstream.Stream
	late    error // of the Source, which came with the batch before
}

func (g *givenUp) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for g.late == nil {
		batch, ack, err := g.Source.Read(ctx)
		if g.late = err; len(batch) == 0 {
			continue
		}
		found, said, err := g.look(ctx, batch)
		if err != nil {
			if g.conn.IsClosed() { // as after a permission that is missing
				err = g.conn.Err()
			}
			_ = ack(ctx, err) // the connection has ended, or nobody waits
			return nil, nil, err
		}
		if gone := len(batch) - len(found.messages); gone > 0 {
			g.env.Dropped(gone)
			g.env.Logger.WarnContext(ctx,
				"messages that a consumer has given up are not in their stream any more", "n", gone)
		}
		if len(found.messages) > 0 {
			return found.messages, found.settles(ack), said
		}
		if err := ack(ctx, nil); err != nil {
			return nil, nil, err
		}
	}
	err := g.late
	g.late = nil
	return nil, nil, err
}

// found are the messages that some advisories are about.
type found struct {
	messages bridge.Batch
	at       []int // of the advisory of each
}

// settles returns what settles the messages, where ack does so with the advisories.
func (f found) settles(ack bridge.Ack) bridge.Ack {
	return func(ctx context.Context, err error) error {
		u, partly := errors.AsType[*bridge.UnsettledError](err)
		if n := bridge.Settled(len(f.at), err); partly && n < len(f.at) {
			err = bridge.GiveBack(f.at[n], u.Err)
		}
		return ack(ctx, err)
	}
}

// look fetches the messages. Those that are gone it leaves out, and what is no such advisory is
// refused itself.
func (g *givenUp) look(ctx context.Context, advisories bridge.Batch) (found, error, error) {
	var f found
	var said bridge.Refusals
	for i, m := range advisories {
		var a advisory
		var why error
		if json.Unmarshal(m.Payload, &a) == nil {
			why = a.why(m.Topic)
		}
		if why == nil {
			why = errors.New("given_up: this is no advisory of a message that a consumer has given up")
		} else if err := g.fetch(ctx, &m, a); errors.Is(err, jetstream.ErrMsgNotFound) ||
			errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		} else if err != nil {
			return f, nil, fmt.Errorf("read message %d of stream %q: %w", a.Sequence, a.Stream, g.conn.explain(err))
		}
		said = append(said, bridge.Refusal{Index: len(f.messages), Err: bridge.Whole(why)})
		f.messages, f.at = append(f.messages, m), append(f.at, i)
	}
	return f, said, nil
}

// fetch makes m the message that a is about.
func (g *givenUp) fetch(ctx context.Context, m *bridge.Message, a advisory) error {
	stream := g.streams[a.Stream]
	if stream == nil {
		var err error
		if stream, err = g.conn.js.Stream(ctx, a.Stream); err != nil {
			return err
		}
		g.streams[a.Stream] = stream
	}
	if stream.CachedInfo().Created.After(m.Time) { // its messages have the numbers of others
		return jetstream.ErrStreamNotFound
	}
	raw, err := stream.GetMsg(ctx, a.Sequence)
	if err != nil {
		return err
	}
	*m = bridge.Message{Topic: raw.Subject, Payload: raw.Data, Time: raw.Time, Header: received(raw.Header)}
	m.ID = a.Stream + ":" + strconv.FormatUint(a.Sequence, 10) + "." + strconv.FormatInt(raw.Time.UnixNano(), 10)
	return nil
}
