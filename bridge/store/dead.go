package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// defaultMaxDead is how many bytes of dead letters are kept, of all pipelines together.
const defaultMaxDead = 256 << 20

// DeadLetters returns a sink for the dead letters of a pipeline. When there is no room for one
// more, the pipeline waits until some are taken out.
func (s *Store) DeadLetters(pipeline string) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: "state",
		Open: func(ctx context.Context, _ bridge.Env) (bridge.Sink, error) {
			n, err := s.open(ctx)
			if err == nil {
				err = s.ensureDead(ctx, n)
			}
			if err != nil {
				return nil, err
			}
			return &deadSink{n, s.names.deadSubject(pipeline)}, nil
		},
	}
}

func (s *Store) ensureDead(ctx context.Context, n *session) error {
	config := jetstream.StreamConfig{
		Name: s.names.dead(), Description: "dead letters of xrtcbridge", Subjects: []string{s.names.deadSubject(">")},
		Discard: jetstream.DiscardNew, MaxBytes: defaultMaxDead, Replicas: s.settings.replicas(),
	}
	if stream, err := n.js.Stream(ctx, config.Name); err == nil {
		config.MaxBytes = stream.CachedInfo().Config.MaxBytes
	}
	for {
		_, err := n.js.CreateOrUpdateStream(ctx, config)
		if isNoRoom(err) && config.MaxBytes/2 >= leastMaxBytes {
			config.MaxBytes /= 2 // of a small disk
			continue
		}
		if err != nil {
			n.suspect(ctx, err)
			return n.failed(ctx, "open the dead letters", err)
		}
		return nil
	}
}

type deadSink struct {
	session *session
	subject string
}

var _ bridge.Sink = (*deadSink)(nil)

// How many letters, and bytes of them, are on their way at once.
const (
	deadLetters = 256
	deadBytes   = 8 << 20
)

// Write stores the first letter by itself: if there is no room for it, those behind it are not
// stored again at each try.
func (d *deadSink) Write(ctx context.Context, batch bridge.Batch) (r bridge.Result, err error) {
	for n := 1; r.Settled < len(batch) && err == nil; n = deadLetters {
		n = min(n, len(batch)-r.Settled)
		err = d.write(ctx, batch[r.Settled:][:n], &r)
	}
	return r, err
}

// write stores letters from the front of the batch, and adds to the result what became of them.
func (d *deadSink) write(ctx context.Context, batch bridge.Batch, r *bridge.Result) error {
	limited, cancel := d.session.patience(ctx, answerTimeout, false)
	defer cancel()
	var sent []jetstream.PubAckFuture // nil: refused
	var failure error
	size := 0
	for i := range batch {
		if size += len(batch[i].Payload); i > 0 && size > deadBytes {
			break
		}
		f, err := d.session.js.PublishMsgAsync(&nats.Msg{Subject: d.subject, Data: batch[i].Payload},
			jetstream.WithRetryAttempts(0))
		if errors.Is(err, nats.ErrMaxPayload) {
			f = nil
		} else if err != nil {
			failure = err
			break
		}
		sent = append(sent, f)
	}
	if err := cmp.Or(d.await(limited, batch, sent, r), failure); err != nil {
		return d.failed(ctx, err)
	}
	return nil
}

// await waits for the answers.
func (d *deadSink) await(ctx context.Context, batch bridge.Batch, sent []jetstream.PubAckFuture, r *bridge.Result) error {
	for i, f := range sent {
		if f == nil {
			r.Refused = append(r.Refused, bridge.Refusal{
				Index: r.Settled,
				Err: fmt.Errorf("the dead letter has %v, and the server of the state takes %v: "+
					"name another sink with on_error.dead_letter",
					bridge.Size(len(batch[i].Payload)), bridge.Size(d.session.nc.MaxPayload())),
			})
			r.Settled++
			continue
		}
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-d.session.ended:
			return errors.New("the connection has ended")
		}
		r.Settled++
	}
	return nil
}

// failed says what an error means that is about no letter in particular.
func (d *deadSink) failed(ctx context.Context, err error) error {
	if isNoRoom(err) || answered(err, codeStoreFailed) && strings.Contains(err.Error(), "maximum") {
		return fmt.Errorf("there is no room for more dead letters: look at them with xrtcbridge dead list, "+
			"and take some out with xrtcbridge dead replay or purge: %w", err)
	}
	d.session.suspect(ctx, err)
	return d.session.failed(ctx, "write a dead letter", err)
}

func (d *deadSink) Close() error { return nil }

// Letter is a dead letter with its number.
type Letter struct {
	Number uint64
	bridge.DeadLetter
}

// MarshalJSON puts the number in front of the letter's own fields.
func (l Letter) MarshalJSON() ([]byte, error) {
	text, err := l.Encode()
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, `{"number":%d,`, l.Number), text[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Letter) UnmarshalJSON(data []byte) error {
	var n struct {
		Number uint64 `json:"number"`
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	l.Number = n.Number
	return l.DeadLetter.UnmarshalJSON(data)
}

// Letters calls f for the dead letters of a pipeline, the oldest first, until f returns false.
func (s *Store) Letters(ctx context.Context, pipeline string, f func(Letter) bool) error {
	n, err := s.open(ctx)
	if err != nil {
		return err
	}
	for seq := uint64(1); ; {
		l, err := s.letter(ctx, n, pipeline, seq)
		if err != nil || l == nil {
			return err
		}
		if !f(*l) {
			return nil
		}
		seq = l.Number + 1
	}
}

// letter returns the first letter with that number or a higher one, nil if there is none.
func (s *Store) letter(ctx context.Context, n *session, pipeline string, seq uint64) (*Letter, error) {
	m, err := n.get(ctx, s.names.dead(), map[string]any{"seq": seq, "next_by_subj": s.names.deadSubject(pipeline)})
	if err != nil {
		return nil, n.failed(ctx, "read the dead letters", err)
	}
	if m == nil {
		return nil, nil
	}
	l := &Letter{Number: m.Seq}
	if err := json.Unmarshal(m.Data, &l.DeadLetter); err != nil {
		return nil, bridge.Permanent(fmt.Errorf("dead letter %d is damaged: "+
			"take it out with xrtcbridge dead purge %s %d: %w", m.Seq, pipeline, m.Seq, err))
	}
	return l, nil
}

// Purge takes dead letters of a pipeline out, all of them if no number is given, and returns how
// many there were.
func (s *Store) Purge(ctx context.Context, pipeline string, numbers ...uint64) (int, error) {
	n, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	stream, err := n.js.Stream(ctx, s.names.dead())
	if errors.Is(err, jetstream.ErrStreamNotFound) && len(numbers) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, n.failed(ctx, "purge the dead letters", err)
	}
	if len(numbers) == 0 {
		count, err := deadCount(ctx, stream, s.names.deadSubject(pipeline))
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(s.names.deadSubject(pipeline)))
		}
		return count, err
	}
	for i, number := range numbers {
		m, err := n.get(ctx, s.names.dead(), map[string]any{"seq": number, "next_by_subj": s.names.deadSubject(pipeline)})
		if err == nil && (m == nil || m.Seq != number) {
			err = fmt.Errorf("pipeline %q has no dead letter %d", pipeline, number)
		}
		if err == nil {
			err = stream.DeleteMsg(ctx, number)
		}
		if err != nil {
			return i, err
		}
	}
	return len(numbers), nil
}

func deadCount(ctx context.Context, stream jetstream.Stream, subject string) (int, error) {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	return int(info.State.Subjects[subject]), nil
}
