package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

// answerTimeout is how long a server may take to answer: a slow disk syncs within that.
const answerTimeout = 10 * time.Second

// maxPayload is what our own server takes: a dead letter can be twice as large as its message, which may be as large as mostRecord. The
// server's files take no more than 32 MiB.
const maxPayload = 24 << 20

// session is one connection to JetStream, and the server if that is our own. It is never mended: what fails in an unclear way ends it, and the
// next one starts anew, since a server that once met a full disk goes on failing until it is started again.
type session struct {
	server *embedded.Server // nil: external, or that of a bridge that runs
	door   *door            // nil: none
	nc     *nats.Conn
	js     jetstream.JetStream
	where  string // for errors
	state  string // name of the stream of checkpoints and positions

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
	if err == nil || ctx.Err() != nil || errors.As(err, &answer) && answer.Code < 500 || errors.Is(err, nats.ErrMaxPayload) {
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
	var err error
	if n.js, err = jetstream.New(n.nc); err == nil && !s.look {
		_, err = n.js.CreateOrUpdateStream(ctx, s.stateStream())
	}
	if err != nil {
		return nil, errors.Join(n.failed("open the state", err), n.close())
	}
	return n, nil
}

func (n *session) failed(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		err = errors.New("no answer in time")
	}
	return fmt.Errorf("%s: %s: %w", what, n.where, err)
}

// connectOwn starts the server of the folder.
func (s *Store) connectOwn(ctx context.Context, n *session) error {
	dir := s.settings.dir()
	n.where = dir
	var used *embedded.InUseError
	err := s.serve(ctx, n)
	for tries := 0; errors.As(err, &used) && tries < 5; tries++ { // who has just come may be a visitor that has not yet said so
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
		s.log.Warn("the state is on a network file system, which may lose what it has confirmed: choose a folder on a disk of this machine", "dir", dir, "type", fs)
	}
	if n.door, err = openDoor(dir, n.server); err != nil {
		s.log.Warn("commands cannot look into the state while this bridge runs", "err", err)
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
	dir := s.settings.dir()
	n.where = dir
	for end := time.Now().Add(lookTimeout); ; {
		if n.knock(dir) {
			return nil
		}
		if !exists(dir) {
			return fmt.Errorf("there is no state in %s: nothing that has to be remembered has run here", dir)
		}
		err := s.serve(ctx, n)
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
	var err error
	n.server, err = embedded.Start(ctx, embedded.Settings{NATS: &embedded.NATS{
		Store: s.settings.dir(), Durability: s.settings.Durability, Visitor: s.look, MaxPayload: maxPayload,
		MaxStore: cmp.Or(s.settings.MaxSize, defaultMaxSize),
		Reserve:  bridge.Size(s.reserve()) / 2, // what buffers leave is for checkpoints and dead letters
	}}, s.log.With("part", "state"))
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	if n.nc, err = n.connect(nats.InProcessServer(n.server)); err != nil {
		return n.failed("open the state", err)
	}
	return nil
}

func (n *session) connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(options,
		nats.Name("xrtcbridge state"),
		nats.NoReconnect(),
		nats.Timeout(answerTimeout),
		nats.PingInterval(10*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(answerTimeout), // the deadline of each write
		nats.ClosedHandler(func(*nats.Conn) { n.end() }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
}

func (s *Store) connectExternal(_ context.Context, n *session) error {
	set := s.settings.NATS
	var servers, shown []string
	for _, u := range set.URL {
		servers, shown = append(servers, u.URL.String()), append(shown, u.String())
	}
	n.where = strings.Join(shown, ", ")
	options := []nats.Option{func(o *nats.Options) error { o.Servers = servers; return nil }}
	if set.Username != "" {
		options = append(options, nats.UserInfo(set.Username, set.Password.Reveal()))
	}
	if !set.Token.IsZero() {
		options = append(options, nats.Token(set.Token.Reveal()))
	}
	if set.Creds != "" {
		options = append(options, nats.UserCredentials(set.Creds))
	}
	if set.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(set.NKey)
		if err != nil {
			return bridge.Permanent(fmt.Errorf("read state.nats.nkey: %w", err))
		}
		options = append(options, nkey)
	}
	if set.TLS != (bridge.TLS{}) {
		config, err := set.TLS.Config()
		if err != nil {
			return bridge.Permanent(err)
		}
		options = append(options, nats.Secure(config))
	}
	var err error
	if n.nc, err = n.connect(options...); err != nil {
		return n.failed("open the state", err)
	}
	return nil
}

func (n *session) stop() error {
	n.end()
	if n.nc != nil {
		n.nc.Close()
	}
	if n.door != nil {
		n.door.close()
	}
	if n.server != nil {
		return n.server.Close()
	}
	return nil
}

func (s *Store) stateStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.names.state(), Description: "checkpoints and positions of xrtcbridge, two generations of each",
		Subjects: []string{s.names.prefix + ".state.>"}, MaxMsgsPerSubject: 2, Replicas: s.settings.replicas(),
	}
}
