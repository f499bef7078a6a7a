package store

import (
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

// DeadLetters returns a sink for the dead letters of a pipeline. When there is no room for one more, the pipeline
// waits until some are taken out.
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
		Name: s.names.dead(), Description: "dead letters of xrtcbridge", Subjects: []string{s.names.prefix + ".dead.>"},
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
			return n.failed("open the dead letters", err)
		}
		return nil
	}
}

type deadSink struct {
	session *session
	subject string
}

func (d *deadSink) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	for i := range batch {
		limited, cancel := context.WithTimeout(ctx, answerTimeout)
		_, err := d.session.js.PublishMsg(limited, &nats.Msg{Subject: d.subject, Data: batch[i].Payload})
		cancel()
		if isNoRoom(err) || answered(err, codeStoreFailed) && strings.Contains(err.Error(), "maximum") {
			return i, fmt.Errorf("there is no room for more dead letters: look at them with xrtcbridge dead list, and take some out with xrtcbridge dead replay or purge: %w", err)
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			return i, bridge.Permanent(fmt.Errorf("the dead letter has %v, and the server of the state takes %v: name another sink with on_error.dead_letter",
				bridge.Size(len(batch[i].Payload)), bridge.Size(d.session.nc.MaxPayload())))
		}
		if err != nil {
			d.session.suspect(ctx, err)
			return i, d.session.failed("write a dead letter", err)
		}
	}
	return len(batch), nil
}

func (d *deadSink) Close() error { return nil }

// Letter is a dead letter with its number.
type Letter struct {
	Number uint64 `json:"number"`
	bridge.DeadLetter
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
		return nil, n.failed("read the dead letters", err)
	}
	if m == nil {
		return nil, nil
	}
	l := &Letter{Number: m.Seq}
	if err := json.Unmarshal(m.Data, &l.DeadLetter); err != nil {
		return nil, bridge.Permanent(fmt.Errorf("dead letter %d is damaged: take it out with xrtcbridge dead purge %s %d: %w", m.Seq, pipeline, m.Seq, err))
	}
	return l, nil
}

// Purge takes dead letters of a pipeline out, all of them if no number is given, and returns how many there were.
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
		return 0, n.failed("purge the dead letters", err)
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
