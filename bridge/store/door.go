package store

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// ErrNotOpen is returned to visitors of a state that nothing has used so far, or that is not kept in
// a folder: they open it themselves.
var ErrNotOpen = errors.New("the state is not open here")

// Enter lets a command of the same user into the server of this state. Once that runs, it calls
// accept for the connection, which ends with the server; else the error is [ErrNotOpen].
func (s *Store) Enter(accept func() (net.Conn, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil || s.session.hasEnded() || s.session.server == nil {
		return ErrNotOpen
	}
	out, err := accept()
	if err != nil {
		return err
	}
	return s.session.door.enter(out, s.session.server)
}

// door is the visitors of a server.
type door struct {
	passing sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	shut  bool
}

// enter connects out with the server until one of the two ends.
func (d *door) enter(out net.Conn, server *embedded.Server) error {
	in, err := server.InProcessConn()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return errors.Join(ErrNotOpen, out.Close(), in.Close())
	}
	if d.conns == nil {
		d.conns = make(map[net.Conn]bool)
	}
	d.conns[out], d.conns[in] = true, true
	d.passing.Go(func() { d.pass(out, in) })
	d.passing.Go(func() { d.pass(in, out) })
	return nil
}

func (d *door) pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, to)
}

func (d *door) close() {
	d.mu.Lock()
	d.shut = true
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.passing.Wait()
}

// knock connects to the server of a bridge that runs with the state, if one does.
func (s *Store) knock(ctx context.Context, n *session) (found bool) {
	if s.visitor == nil {
		return false
	}
	nc, err := n.connect(nats.SetCustomDialer(dialer(func() (net.Conn, error) {
		c, err := s.visitor(ctx)
		if err != nil {
			return nil, err
		}
		return natsclient.Screen(c), nil // who is asked may be another user's
	})))
	if err != nil {
		return false // there is none, or it has just ended; else the lock says who has the folder
	}
	n.nc = nc
	n.where += " (in use)"
	return true
}

type dialer func() (net.Conn, error)

func (d dialer) Dial(string, string) (net.Conn, error) { return d() }
