// Package store keeps what a bridge must remember beyond the life of its process: buffers,
// checkpoints and dead letters, all in NATS JetStream. By default that is a server inside the
// process which listens nowhere and keeps its files in a folder; an external one does the same over
// the network.
//
// # Durability
//
// With "power", the default, what was confirmed survives power loss: each record and each
// checkpoint is synced to disk before it is confirmed. With "process" it survives a crash of the
// process, while the system writes it to disk within two minutes. On an external server the
// server's own sync_interval decides, which clients cannot see.
//
// # Order of events
//
// A sink has confirmed; then the position behind the message is saved; then what is in front of
// that position goes from the buffer. So whatever ends the process, messages may come again, and
// none is left out.
//
// # What damage is noticed
//
// Messages in a buffer are numbered without a gap, each record has a checksum, and the newest number is saved beside
// the position, so that a record that was lost or changed on disk is noticed: it is never delivered,
// how many messages are missing is logged and counted as dropped, and with strict it stops the pipeline.
// Checkpoints have two generations, each with a checksum.
//
// # Whose it is
//
// The folder must be this user's and writable by nobody else, and so must what is in it, without
// symbolic links: another user may have prepared it. Else it is refused, by commands as well, but
// that root looks into the state of a bridge that runs. It is held open, so that on Linux nobody
// can exchange it meanwhile.
//
// With shared, only links are refused. Then whoever can write to the folder can exchange and read
// what the bridge remembers, and stop it. That is for volumes where Kubernetes gives all files to a
// group (fsGroup), or where files have no owners.
//
// In an external server, who may publish to the subjects of the state forges it. They begin with
// [natsclient.OwnSubjects], to which no message chooses to go at a sink, and which MQTT clients of
// an embedded server are denied; deny it to the other users of the account.
//
// # Look inside
//
// While a bridge runs, commands reach its state by Enter, and else open the folder themselves; a
// bridge that starts meanwhile waits for them. A second bridge is refused.
package store

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// Store is the state of one bridge. Nothing starts before something in it is used.
type Store struct {
	settings Settings
	names    names
	log      *slog.Logger
	look     bool // only commands use it, beside a bridge that may run
	visitor  func(context.Context) (net.Conn, error)

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
	return &Store{settings: s, names: names{s.prefix(), natsclient.OwnSubjects + s.prefix()}, log: log}
}

// Look returns the state for commands: it may be that of a bridge that runs, and nothing is made
// that is not there. To that bridge leads visit, if it is not nil, with a connection that its Enter
// has accepted.
func Look(s Settings, log *slog.Logger, visit func(context.Context) (net.Conn, error)) *Store {
	look := New(s, log)
	look.look, look.visitor = true, visit
	return look
}

// names are those of streams and subjects, as far as they are the same for all pipelines.
type names struct{ stream, subject string }

func (n names) state() string                        { return n.stream + "-state" }
func (n names) buffer(pipeline string) string        { return n.stream + "-buffer-" + pipeline }
func (n names) dead() string                         { return n.stream + "-dead" }
func (n names) stateSubject() string                 { return n.subject + ".state." }
func (n names) bufferSubject(pipeline string) string { return n.subject + ".buffer." + pipeline }
func (n names) deadSubject(pipeline string) string   { return n.subject + ".dead." + pipeline }
func (n names) positionSubject(pipeline string) string {
	return n.stateSubject() + "buffer." + pipeline
}

func (n names) checkpoint(pipeline, instance string) string {
	return n.stateSubject() + "checkpoint." + pipeline + "." + instance
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
