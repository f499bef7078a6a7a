package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// ErrNoState is returned to commands where the folder does not exist.
var ErrNoState = errors.New("there is no state")

// InUse reports whether a bridge that runs has the state. Of an external one that cannot be told.
func (s *Store) InUse(ctx context.Context) (bool, error) {
	n, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	return s.settings.NATS == nil && n.server == nil, nil
}

// Ours returns an error if the folder is another user's, whose bridge lets root look into it: what
// root does beside that, with files of its own, could stop it.
func (s *Store) Ours() error {
	if s.settings.NATS != nil {
		return nil
	}
	folder, err := s.settings.Place().Open()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open the state: %w", err)
	}
	return folder.Close()
}

// Status is what a buffer owes.
type Status struct {
	Pipeline string    `json:"pipeline"`
	Messages uint64    `json:"messages"` // written and not settled; while a bridge runs, up to 500 or 50 ms too many
	Bytes    uint64    `json:"bytes"`    // on disk, with what was settled in the last second
	MaxBytes int64     `json:"max_bytes"`
	Oldest   time.Time `json:"oldest,omitzero"` // when the first of them was written
	First    uint64    `json:"first"`           // its number
	Last     uint64    `json:"last"`            // number of the newest message ever
}

// ErrNoBuffer is returned where a pipeline has no buffer in the state.
var ErrNoBuffer = errors.New("the state has no buffer of that pipeline")

// view is a buffer as it is now.
type view struct {
	session *session
	info    *jetstream.StreamInfo
	saved   position
	first   mark // oldest record
	at      time.Time
	last    mark // newest record
}

func (s *Store) view(ctx context.Context, pipeline string) (*view, error) {
	n, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	v := &view{session: n}
	stream, err := n.js.Stream(ctx, s.names.buffer(pipeline))
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrInvalidStreamName) {
		return nil, fmt.Errorf("pipeline %q: %w", pipeline, ErrNoBuffer)
	}
	if err != nil {
		return nil, n.failed(ctx, "look at the buffer", err)
	}
	v.info = stream.CachedInfo()
	var damage *damageError
	if v.saved, err = n.position(ctx, s.names.positionSubject(pipeline)); err != nil && !errors.As(err, &damage) {
		return nil, err
	}
	if v.saved.Epoch != v.info.Config.Metadata[epochKey] {
		v.saved = position{}
	}
	if v.last, _, err = n.lastRecord(ctx, v.info); err != nil {
		return nil, n.failed(ctx, "look at the buffer", err)
	}
	if v.first, v.at, err = n.firstRecord(ctx, v.info); err != nil {
		return nil, n.failed(ctx, "look at the buffer", err)
	}
	return v, nil
}

// owed returns the numbers between which messages are owed; there are none if last is less than
// first.
func (v *view) owed() (first, last uint64) {
	return max(v.saved.Settled.Number+1, v.first.Number), max(v.last.Number, v.saved.Settled.Number)
}

// Status looks at the buffer of a pipeline.
func (s *Store) Status(ctx context.Context, pipeline string) (Status, error) {
	v, err := s.view(ctx, pipeline)
	if err != nil {
		return Status{}, err
	}
	first, last := v.owed()
	st := Status{
		Pipeline: pipeline, First: first, Last: last, Messages: last + 1 - first,
		Bytes: v.info.State.Bytes, MaxBytes: v.info.Config.MaxBytes,
	}
	if st.Messages == 0 {
		st.Bytes = 0
		return st, nil
	}
	st.Oldest = v.at
	if v.first.Number < first { // settled ones are still there
		err = s.records(ctx, v, func(r *record, m *message, _ error) bool {
			if r == nil || r.first+uint64(len(r.batch)) <= first {
				return true
			}
			st.Oldest = m.Time
			return false
		})
	}
	return st, err
}

// records calls f for the records of a buffer, the oldest first, until f returns false. A damaged
// one is nil, with the error.
func (s *Store) records(ctx context.Context, v *view, f func(*record, *message, error) bool) error {
	subject := v.info.Config.Subjects[0]
	for seq := max(1, v.info.State.FirstSeq, v.saved.Settled.Seq); ; {
		m, err := v.session.get(ctx, v.info.Config.Name, map[string]any{"seq": seq, "next_by_subj": subject})
		if err != nil {
			return v.session.failed(ctx, "read the buffer", err)
		}
		if m == nil || m.Seq > v.info.State.LastSeq {
			return nil
		}
		r, err := parseRecord(m.Data)
		if err != nil {
			if !f(nil, m, err) {
				return nil
			}
		} else if !f(&r, m, nil) {
			return nil
		}
		seq = m.Seq + 1
	}
}

// Owed is a message in a buffer.
type Owed struct {
	Number  uint64
	Written time.Time
	bridge.Message
}

// Peek calls f for the messages that the buffer of a pipeline owes now, the oldest first, until f
// returns false. They stay where they are.
func (s *Store) Peek(ctx context.Context, pipeline string, f func(Owed) bool) error {
	v, err := s.view(ctx, pipeline)
	if err != nil {
		return err
	}
	first, _ := v.owed()
	return s.records(ctx, v, func(r *record, m *message, _ error) bool {
		if r == nil {
			return true
		}
		for i := range r.batch {
			number := r.first + uint64(i)
			if number >= first && !f(Owed{number, m.Time, r.batch[i]}) {
				return false
			}
		}
		return true
	})
}

// Verified is what was found in a buffer.
type Verified struct {
	Messages uint64 `json:"messages"` // whole, and owed
	Damaged  int    `json:"damaged"`  // records
	Lost     uint64 `json:"lost"`     // messages owed that are not there
}

// Verify reads the whole buffer of a pipeline.
func (s *Store) Verify(ctx context.Context, pipeline string) (Verified, error) {
	v, err := s.view(ctx, pipeline)
	if err != nil {
		return Verified{}, err
	}
	var found Verified
	next := v.saved.Settled.Number + 1
	if v.saved.Epoch == "" {
		next = v.first.Number
	}
	err = s.records(ctx, v, func(r *record, _ *message, _ error) bool {
		if r == nil {
			found.Damaged++
			return true
		}
		end := r.first + uint64(len(r.batch))
		if end <= next {
			return true
		}
		if r.first > next {
			found.Lost += r.first - next
			next = r.first
		}
		found.Messages += end - next
		next = end
		return true
	})
	if last := v.saved.Last.Number; last >= next {
		found.Lost += last + 1 - next
	}
	return found, err
}

// Entry is something that the state remembers.
type Entry struct {
	Pipeline string    `json:"pipeline"`
	Kind     string    `json:"kind"` // checkpoint, buffer or dead letters
	Instance string    `json:"instance,omitempty"`
	Size     int       `json:"size"` // bytes of a checkpoint, else messages
	Saved    time.Time `json:"saved,omitzero"`
	Data     []byte    `json:"-"` // of a checkpoint
	Damaged  bool      `json:"damaged,omitempty"`
}

// Entries lists what the state remembers, of one pipeline if that is not empty.
func (s *Store) Entries(ctx context.Context, pipeline string) ([]Entry, error) {
	n, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	var all []Entry
	prefix := s.names.stateSubject() + "checkpoint."
	subjects, err := n.subjects(ctx, s.names.state(), prefix+">")
	if err != nil {
		return nil, err
	}
	for _, subject := range subjects {
		name, instance, _ := strings.Cut(strings.TrimPrefix(subject, prefix), ".")
		if pipeline != "" && name != pipeline {
			continue
		}
		e := Entry{Pipeline: name, Kind: "checkpoint", Instance: instance}
		m, err := n.get(ctx, s.names.state(), map[string]any{"last_by_subj": subject})
		if err != nil {
			return nil, n.failed(ctx, "read the state", err)
		}
		if m != nil {
			e.Saved = m.Time
		}
		if e.Data, err = n.load(ctx, subject); err != nil {
			e.Damaged = true
		}
		e.Size = len(e.Data)
		all = append(all, e)
	}
	for name := range n.js.StreamNames(ctx).Name() {
		if name, is := strings.CutPrefix(name, s.names.buffer("")); is && (pipeline == "" || name == pipeline) {
			st, err := s.Status(ctx, name)
			if err != nil {
				return nil, err
			}
			all = append(all, Entry{Pipeline: name, Kind: "buffer", Size: int(st.Messages), Saved: st.Oldest})
		}
	}
	letters, err := n.subjects(ctx, s.names.dead(), s.names.deadSubject(">"))
	for _, subject := range letters {
		name := strings.TrimPrefix(subject, s.names.deadSubject(""))
		if pipeline == "" || name == pipeline {
			stream, err := n.js.Stream(ctx, s.names.dead())
			if err != nil {
				return nil, n.failed(ctx, "read the state", err)
			}
			count, err := deadCount(ctx, stream, subject)
			if err != nil {
				return nil, n.failed(ctx, "read the state", err)
			}
			all = append(all, Entry{Pipeline: name, Kind: "dead letters", Size: count})
		}
	}
	return all, err
}

// subjects lists those of a stream that have messages.
func (n *session) subjects(ctx context.Context, stream, filter string) ([]string, error) {
	s, err := n.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, n.failed(ctx, "read the state", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, n.failed(ctx, "read the state", err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}

// ErrInUse is returned where a bridge must not run.
var ErrInUse = errors.New("a bridge is using the state")

// Reset forgets the checkpoints of a pipeline, so that its sources begin anew, and, if buffer is
// set, what its buffer holds. No bridge may be running. It returns how many checkpoints and
// messages are forgotten.
func (s *Store) Reset(ctx context.Context, pipeline string, buffer bool) (checkpoints int, messages uint64, err error) {
	n, err := s.open(ctx)
	if err != nil {
		return 0, 0, err
	}
	if used, err := s.InUse(ctx); err != nil || used {
		return 0, 0, errors.Join(err, ErrInUse)
	}
	subjects, err := n.subjects(ctx, s.names.state(), s.names.checkpoint(pipeline, "*"))
	if err != nil {
		return 0, 0, err
	}
	stream, err := n.js.Stream(ctx, s.names.state())
	for _, subject := range subjects {
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, 0, n.failed(ctx, "reset the state", err)
	}
	if !buffer {
		return len(subjects), 0, nil
	}
	st, err := s.Status(ctx, pipeline)
	if errors.Is(err, ErrNoBuffer) {
		return len(subjects), 0, nil
	}
	if err == nil {
		err = n.js.DeleteStream(ctx, s.names.buffer(pipeline))
	}
	if err == nil && stream != nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(s.names.positionSubject(pipeline)))
	}
	return len(subjects), st.Messages, err
}
