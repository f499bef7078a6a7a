package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// How long a server may take to answer: a slow disk syncs within answerTimeout, and a machine that
// is busy has read a large dead letter within letterTimeout.
const (
	answerTimeout = 10 * time.Second
	letterTimeout = time.Minute
)

// maxPayload is what our own server takes: a dead letter can be twice as large as its message,
// which may be as large as mostRecord. The server's files take no more than 32 MiB.
const maxPayload = 24 << 20

// session is one connection to JetStream, and the server if that is our own. It is never mended:
// what fails in an unclear way ends it, and the next one starts anew, since a server that once met
// a full disk goes on failing until it is started again.
type session struct {
	server *embedded.Server // nil: external, or that of a bridge that runs
	door   door
	folder *owned.Dir // of commands that look in; else nil
	nc     *nats.Conn
	js     jetstream.JetStream
	api    string // what its subjects begin with

	external *natsclient.Conn // nc, if that is external

	where string // for errors
	state string // name of the stream of checkpoints and positions

	ended chan struct{} // closed when it must not be used any more
	end   func()
	close func() error
}

func (n *session) hasEnded() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

// suspect ends the session unless err is an answer of the server.
func (n *session) suspect(ctx context.Context, err error) {
	var answer *jetstream.APIError
	if err == nil || ctx.Err() != nil || errors.As(err, &answer) && answer.Code < 500 ||
		errors.Is(err, nats.ErrMaxPayload) {
		return
	}
	n.end()
}

func (s *Store) start(ctx context.Context) (*session, error) {
	n := &session{state: s.names.state(), ended: make(chan struct{})}
	n.end = sync.OnceFunc(func() { close(n.ended) })
	n.close = sync.OnceValue(n.stop)
	connect := s.connectOwn
	switch {
	case s.settings.NATS != nil:
		connect = s.connectExternal
	case s.look:
		connect = s.visit
	}
	if err := connect(ctx, n); err != nil {
		return nil, errors.Join(err, n.close())
	}
	var client natsclient.Settings
	if s.settings.NATS != nil {
		client = s.settings.NATS.Settings
	}
	n.api = client.API()
	var err error
	if n.js, err = client.JetStream(n.nc); err == nil && !s.look {
		_, err = n.js.CreateOrUpdateStream(ctx, s.stateStream())
	}
	if err != nil {
		return nil, errors.Join(n.failed(ctx, "open the state", err), n.close())
	}
	return n, nil
}

// failed says what was being done. If ctx, of whom it was done for, is canceled, that is why.
func (n *session) failed(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		err = ctx.Err()
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout):
		err = errors.New("no answer in time")
	}
	return fmt.Errorf("%s: %s: %w", what, n.where, err)
}

// connectOwn starts the server of the folder.
func (s *Store) connectOwn(ctx context.Context, n *session) error {
	dir := s.settings.Place().Path
	n.where = dir
	var used *embedded.InUseError
	err := s.serve(ctx, n)
	// who has just come may be a visitor that has not yet said so
	for tries := 0; errors.As(err, &used) && tries < 5; tries++ {
		if err = sleep(ctx, lookEvery); err == nil {
			err = s.serve(ctx, n)
		}
	}
	if err != nil {
		if !s.started && ctx.Err() == nil && (!errors.As(err, &used) || !used.Visitor) {
			err = bridge.Permanent(err) // and later ones are for trouble of the disk, which may pass
		}
		return err
	}
	s.started = true
	if fs := remoteFilesystem(dir); fs != "" {
		s.log.Warn("the state is on a network file system, which may lose what it has confirmed: "+
			"choose a folder on a disk of this machine", "dir", dir, "type", fs)
	}
	return nil
}

// How long a command waits for a bridge that is just starting or ending, or for another command.
const (
	lookTimeout = 5 * time.Second
	lookEvery   = 50 * time.Millisecond
)

// visit finds the server of the folder that runs, or starts it for a moment.
func (s *Store) visit(ctx context.Context, n *session) error {
	at := s.settings.Place()
	n.where = at.Path
	var err error
	none := fmt.Errorf("%w in %s: nothing that has to be remembered has run here", ErrNoState, at.Path)
	if n.folder, err = at.Visit(); errors.Is(err, fs.ErrNotExist) {
		return none
	} else if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	for end := time.Now().Add(lookTimeout); ; {
		if s.knock(ctx, n) {
			return nil
		}
		_, unlocked := os.Lstat(n.folder.Join("xrtcbridge.lock"))
		if _, err := os.Lstat(n.folder.Join(server.JetStreamStoreDir)); errors.Is(err, fs.ErrNotExist) &&
			errors.Is(unlocked, fs.ErrNotExist) {
			return none // the folder is there for the socket of a bridge, say
		}
		err = s.serve(ctx, n)
		if !errors.As(err, new(*embedded.InUseError)) || time.Now().After(end) {
			return err
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve starts the server, and connects to it.
func (s *Store) serve(ctx context.Context, n *session) error {
	at := s.settings.Place()
	var err error
	n.server, err = embedded.Start(ctx, embedded.Settings{NATS: &embedded.NATS{
		Store: at.Path, Shared: at.Shared, Setting: at.Setting, Durability: s.settings.Durability,
		Visitor: s.look, MaxPayload: maxPayload,
		MaxStore: cmp.Or(s.settings.MaxSize, defaultMaxSize),
		Reserve:  bridge.Size(s.reserve()) / 2, // what buffers leave is for checkpoints and dead letters
	}}, s.log.With("part", "state"))
	if used, ok := errors.AsType[*embedded.InUseError](err); ok {
		used.Setting = "state: {dir: data/other}"
	}
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	if n.nc, err = n.connect(nats.InProcessServer(n.server)); err != nil {
		return n.failed(ctx, "open the state", err)
	}
	return nil
}

// connect connects to a server on this machine.
func (n *session) connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(append(natsclient.Options(clientName), options...), n.handlers()...)...)
}

const clientName = "xrtcbridge state"

func (n *session) handlers() []nats.Option {
	return []nats.Option{
		nats.ClosedHandler(func(*nats.Conn) { n.end() }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

func (s *Store) connectExternal(ctx context.Context, n *session) error {
	n.where = s.settings.NATS.Servers()
	external := new(natsclient.Conn)
	if err := external.Dial(ctx, &s.settings.NATS.Settings, clientName, n.handlers()...); err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	n.external, n.nc = external, external.Conn
	return nil
}

// patience returns a context for waiting for an answer within a limit. On a slow line it may have
// to wait until what was written has left, and, if incoming, until what comes is here.
func (n *session) patience(ctx context.Context, limit time.Duration, incoming bool) (context.Context, context.CancelFunc) {
	if n.external != nil {
		return n.external.Patience(ctx, limit, incoming, n.external.Outgoing())
	}
	return context.WithTimeout(ctx, limit)
}

func (n *session) stop() error {
	n.end()
	if n.nc != nil {
		n.nc.Close()
	}
	n.door.close()
	var errs []error
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	if n.folder != nil {
		errs = append(errs, n.folder.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) stateStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.names.state(), Description: "checkpoints and positions of xrtcbridge, two generations of each",
		Subjects: []string{s.names.stateSubject() + ">"}, MaxMsgsPerSubject: 2, Replicas: s.settings.replicas(),
	}
}
