// Package store keeps what a bridge must remember beyond the life of its process: buffers, checkpoints and dead letters, all in
// NATS JetStream. By default that is a server inside the process which listens nowhere and keeps its files in a folder; an external
// one does the same over the network.
//
// # Durability
//
// With "power", the default, what was confirmed survives power loss: each record and each checkpoint is synced to disk before it
// is confirmed. With "process" it survives a crash of the process, while the system writes it to disk within two minutes. On an external server
// the server's own sync_interval decides, which clients cannot see.
//
// # Order of events
//
// A sink has confirmed; then the position behind the message is saved; then what is in front of that position goes from the buffer.
// So whatever ends the process, messages may come again, and none is left out.
//
// # What damage is noticed
//
// Messages in a buffer are numbered without a gap, each record has a checksum, and the newest number is saved beside
// the position, so that a record that was lost or changed on disk is noticed: it is never delivered,
// how many messages are missing is logged and counted as dropped, and with strict it stops the pipeline.
// Checkpoints have two generations, each with a checksum.
//
// # Look inside
//
// While a bridge runs, commands reach its state through the socket xrtcbridge.sock in the folder, and else open the folder themselves; a
// bridge that starts meanwhile waits for them. A second bridge is refused.
package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Store is the state of one bridge. Nothing starts before something in it is used.
type Store struct {
	settings Settings
	names    names
	log      *slog.Logger
	look     bool // only commands use it, beside a bridge that may run

	mu      sync.Mutex // guards what follows; held while a session starts
	session *session   // nil: none yet
	started bool       // a server of our own, once
	closed  bool
	buffers []*buffer
}

var (
	_ bridge.State = (*Store)(nil)

	errClosed = errors.New("the state is closed")
)

// New returns the state that the settings, which must be valid, say. Log may be nil.
func New(s Settings, log *slog.Logger) *Store {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{settings: s, names: names{s.prefix()}, log: log}
}

// Look returns the state for commands: it may be that of a bridge that runs, and nothing is made that is not there.
func Look(s Settings, log *slog.Logger) *Store {
	look := New(s, log)
	look.look = true
	return look
}

// names are those of streams and subjects.
type names struct{ prefix string }

func (n names) state() string                          { return n.prefix + "-state" }
func (n names) buffer(pipeline string) string          { return n.prefix + "-buffer-" + pipeline }
func (n names) dead() string                           { return n.prefix + "-dead" }
func (n names) bufferSubject(pipeline string) string   { return n.prefix + ".buffer." + pipeline }
func (n names) deadSubject(pipeline string) string     { return n.prefix + ".dead." + pipeline }
func (n names) positionSubject(pipeline string) string { return n.prefix + ".state.buffer." + pipeline }

func (n names) checkpoint(pipeline, instance string) string {
	return n.prefix + ".state.checkpoint." + pipeline + "." + instance
}

// open returns the session, and starts it if there is none or the last one has ended.
func (s *Store) open(ctx context.Context) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case s.session != nil && !s.session.hasEnded():
		return s.session, nil
	case s.session != nil:
		if err := s.session.close(); err != nil {
			s.log.Warn("close the state before opening it again", "err", err)
		}
		s.session = nil
	}
	session, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	s.session = session
	return session, nil
}

// Close saves what is left to save and stops the server, if one runs. The pipelines must have ended.
func (s *Store) Close() error {
	s.mu.Lock()
	buffers := s.buffers
	s.buffers = nil
	s.mu.Unlock()
	var errs []error
	for _, b := range buffers {
		errs = append(errs, b.close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.session != nil {
		errs = append(errs, s.session.close())
		s.session = nil
	}
	return errors.Join(errs...)
}
