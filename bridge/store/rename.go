package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Rename gives what the state has of a pipeline to one of another name, which must have neither
// checkpoints nor a buffer; dead letters are added to those that it has. No bridge may be running.
// It returns what was given. Nothing is forgotten before all of it is there by its new name, so one
// that failed or was killed can be repeated.
func (s *Store) Rename(ctx context.Context, from, to string) ([]Entry, error) {
	if used, err := s.InUse(ctx); err != nil || used {
		return nil, errors.Join(err, ErrInUse)
	}
	n, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := s.Entries(ctx, from)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	r := renaming{Store: s, session: n, from: from, to: to}
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{r.copyBuffer, r.copyCheckpoints, r.moveLetters, r.forget} {
		if err := step(ctx); err != nil {
			return nil, n.failed(ctx, fmt.Sprintf("rename the state of %q", from), err)
		}
	}
	return entries, nil
}

// TakenError is what Rename returns if something is there by the new name.
type TakenError struct{ Pipeline, Kind string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("the state has a %s of pipeline %q already", e.Kind, e.Pipeline)
}

// renaming is one that goes on.
type renaming struct {
	*Store
	session  *session
	from, to string
	buffer   jetstream.Stream // of from; nil: none
}

// check looks for what is in the way. What an earlier try has left is not: it is as it is by the
// old name.
func (r *renaming) check(ctx context.Context) error {
	var err error
	if r.buffer, err = r.stream(ctx, r.names.buffer(r.from)); err != nil {
		return err
	}
	there, err := r.stream(ctx, r.names.buffer(r.to))
	if err != nil {
		return err
	}
	if there != nil {
		if r.buffer != nil && there.CachedInfo().Config.Metadata[copyKey] == r.buffer.CachedInfo().Config.Metadata[epochKey] {
			return nil
		}
		return &TakenError{r.to, "buffer"}
	}
	subjects, err := r.checkpoints(ctx, r.to)
	for _, subject := range subjects {
		was := r.names.checkpoint(r.from, r.from+strings.TrimPrefix(subject, r.names.checkpoint(r.to, r.to)))
		m, e := r.last(ctx, was)
		has, e2 := r.last(ctx, subject)
		if err = errors.Join(e, e2); err != nil {
			return err
		}
		if has != nil && (m == nil || string(m.Data) != string(has.Data)) {
			return &TakenError{r.to, "checkpoint"}
		}
	}
	return err
}

// copyKey is in a buffer that was copied the epoch of the other, until a bridge uses it.
const copyKey = "xrtcbridge.copy"

// stream returns a stream, nil if there is none.
func (r *renaming) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := r.session.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return stream, err
}

func (r *renaming) checkpoints(ctx context.Context, pipeline string) ([]string, error) {
	return r.session.subjects(ctx, r.names.state(), r.names.checkpoint(pipeline, "*"))
}

func (r *renaming) last(ctx context.Context, subject string) (*message, error) {
	return r.session.get(ctx, r.names.state(), map[string]any{"last_by_subj": subject})
}

// all calls f for the messages of a subject, the oldest first.
func (r *renaming) all(ctx context.Context, stream, subject string, f func(*message) error) error {
	for seq := uint64(1); ; {
		m, err := r.session.get(ctx, stream, map[string]any{"seq": seq, "next_by_subj": subject})
		if err != nil || m == nil {
			return err
		}
		if err := f(m); err != nil {
			return err
		}
		seq = m.Seq + 1
	}
}

func (r *renaming) publish(ctx context.Context, subject string, data []byte) error {
	ctx, cancel := r.session.patience(ctx, answerTimeout, false)
	defer cancel()
	_, err := r.session.js.Publish(ctx, subject, data)
	return err
}

// copyBuffer copies the records as they are, damaged ones too, and the position, with the numbers of
// messages: sequence numbers begin anew.
func (r *renaming) copyBuffer(ctx context.Context) error {
	if r.buffer == nil {
		return nil
	}
	js, name, subject := r.session.js, r.names.buffer(r.to), r.names.bufferSubject(r.to)
	if err := js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err // of an earlier try, see check
	}
	config := r.buffer.CachedInfo().Config
	config.Name, config.Subjects, config.Discard = name, []string{subject}, jetstream.DiscardNew
	config.Metadata = map[string]string{epochKey: config.Metadata[epochKey], copyKey: config.Metadata[epochKey]}
	for {
		_, err := js.CreateStream(ctx, config)
		if isNoRoom(err) && config.MaxBytes/2 >= leastMaxBytes {
			config.MaxBytes /= 2 // until the old one is gone
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	copied := r.all(ctx, r.names.buffer(r.from), r.names.bufferSubject(r.from), func(m *message) error {
		return r.publish(ctx, subject, m.Data)
	})
	if copied != nil {
		return errors.Join(fmt.Errorf("copy the buffer: %w", copied), js.DeleteStream(context.WithoutCancel(ctx), name))
	}
	p, err := r.session.position(ctx, r.names.positionSubject(r.from))
	if errors.As(err, new(*damageError)) || err == nil && p.Epoch == "" {
		return nil // all of it is read
	}
	if err != nil {
		return err
	}
	p.Settled.Seq, p.Last.Seq = 0, 0
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return r.session.save(ctx, r.names.positionSubject(r.to), data)
}

// copyCheckpoints copies both generations of each.
func (r *renaming) copyCheckpoints(ctx context.Context) error {
	subjects, err := r.checkpoints(ctx, r.from)
	for _, subject := range subjects {
		to := r.names.checkpoint(r.to, r.to+strings.TrimPrefix(subject, r.names.checkpoint(r.from, r.from)))
		err = r.all(ctx, r.names.state(), subject, func(m *message) error { return r.publish(ctx, to, m.Data) })
		if err != nil {
			return err
		}
	}
	return err
}

// moveLetters moves one at a time, since there may be no room for all of them twice. One that is
// there twice after a kill is delivered twice.
func (r *renaming) moveLetters(ctx context.Context) error {
	stream, err := r.stream(ctx, r.names.dead())
	if stream == nil || err != nil {
		return err
	}
	return r.all(ctx, r.names.dead(), r.names.deadSubject(r.from), func(m *message) error {
		var d bridge.DeadLetter
		data := m.Data
		if json.Unmarshal(data, &d) == nil { // else it stays damaged
			d.Pipeline, d.Instance = r.to, r.to+strings.TrimPrefix(d.Instance, r.from)
			var err error
			if data, err = d.Encode(); err != nil {
				return err
			}
		}
		if err := r.publish(ctx, r.names.deadSubject(r.to), data); err != nil {
			return fmt.Errorf("move dead letter %d: %w", m.Seq, err)
		}
		return stream.DeleteMsg(ctx, m.Seq)
	})
}

// forget takes away what has the old name, last the buffer, by which another try knows its copy.
func (r *renaming) forget(ctx context.Context) error {
	if stream, err := r.stream(ctx, r.names.state()); err != nil {
		return err
	} else if stream != nil {
		for _, subject := range []string{r.names.checkpoint(r.from, "*"), r.names.positionSubject(r.from)} {
			if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
				return err
			}
		}
	}
	if r.buffer == nil {
		return nil
	}
	if err := r.session.js.DeleteStream(ctx, r.names.buffer(r.from)); err != nil {
		return err
	}
	config := r.buffer.CachedInfo().Config
	config.Name, config.Subjects = r.names.buffer(r.to), []string{r.names.bufferSubject(r.to)}
	if _, err := r.session.js.UpdateStream(ctx, config); err != nil && !isNoRoom(err) {
		return err
	}
	return nil
}
