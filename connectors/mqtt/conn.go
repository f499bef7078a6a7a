package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

const (
	slabSize = 64 << 10
	minRead  = 4 << 10 // less room than this is not worth a system call

	// closeTimeout is how long closing waits for a broker to read what was sent last. One that is
	// busy, or was not given a processor, needs a moment.
	closeTimeout = 5 * time.Second
)

// errLeft ends a connection that the broker does not.
var errLeft = errors.New("the instance is closed")

// conn is one connection to a broker, from CONNECT to DISCONNECT. What paho's packets would cost
// in the PUBLISH family, it spares: those packets go to the peer, many at a time and without a
// copy. It is mended never, since the engine opens another instance.
type conn struct {
	net    io.ReadWriteCloser
	socket *socket.Conn // under net
	peer   peer
	at     bridge.URL
	who    identity
	limit  int // of a packet

	resumed   bool         // the broker had a session of this client
	server    limits       // of MQTT 5
	keepalive atomic.Int64 // of the settings, or less if the broker wants that
	question  atomic.Pointer[question]
	began     time.Time
	leaving   atomic.Int64 // nanoseconds since began, see stalled
	held      atomic.Bool  // nobody reads, since the pipeline has no room

	wmu  sync.Mutex            // held while writing, so that packets stay whole
	left atomic.Pointer[error] // why DISCONNECT has been sent; stored while wmu is held

	pings   atomic.Int32  // that are sent and not answered
	pong    chan struct{} // holds one after the broker has answered all pings
	users   atomic.Int32  // the last one that closes does it
	once    sync.Once
	dead    chan struct{} // closed by fail
	cause   error         // why; to be read when dead is closed
	running sync.WaitGroup

	// The rest belongs to the one goroutine that reads.
	slab    []byte
	r, w    int  // slab[r:w] is still to be parsed
	need    int  // size of the packet that begins at r, if known
	skip    int  // bytes to come of a packet that is too large
	kept    bool // messages point into slab
	pending bool // the peer has frames to flush
	greeted bool // CONNACK has been seen
}

// peer is the source or sink behind a conn. frame and flush are called by the
// reading goroutine.
type peer interface {
	// frame takes a packet of the PUBLISH family. Only a PUBLISH may be kept.
	frame(f frame) error
	// flush is called after a run of frames, with the connection that they came by. It may block
	// until the connection is lost, and notes that in c.held.
	flush(c *conn)
	// waits reports whether confirmations are to come, for which the peer has a limit of its own.
	waits() bool
	// lost is called once, when the connection is of no use any more.
	lost(err error)
}

// identity is how a client presents itself to the broker.
type identity struct {
	clientID string
	unique   bool      // nobody else can be using clientID
	clean    bool      // the broker keeps nothing for it
	bridge   bool      // the broker sends it nothing that it has published itself
	needs    string    // a setting that only MQTT 5 can do
	spoken   *sync.Map // what the broker at a host speaks, see connectTo

	five    bool          // it speaks MQTT 5, where the rest counts
	expiry  time.Duration // for which the broker keeps the session when the connection has ended
	receive int           // messages that the broker may send ahead of their acknowledgements; 0: any number
}

func newConn(c io.ReadWriteCloser, under *socket.Conn, p peer, who identity, limit int) *conn {
	made := &conn{
		net: c, socket: under, peer: p, who: who, limit: limit, began: time.Now(),
		pong: make(chan struct{}, 1), dead: make(chan struct{}),
	}
	made.users.Store(1)
	return made
}

// share adds a user. It fails when there is none any more, or the connection is lost.
func (c *conn) share() bool {
	select {
	case <-c.dead:
		return false
	default:
	}
	for n := c.users.Load(); n > 0; n = c.users.Load() {
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// fail closes the connection because of err, unless that has happened already. It returns
// the first reason.
func (c *conn) fail(err error) error {
	c.once.Do(func() {
		c.cause = err
		close(c.dead)
		_ = c.net.Close()
	})
	return c.cause
}

// send writes whole packets. It takes as long as bytes leave.
func (c *conn) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	select {
	case <-c.dead:
		return c.cause
	default:
	}
	if c.left.Load() != nil {
		return net.ErrClosed // and no reason to reset the connection, see leave
	}
	if _, err := c.net.Write(p); err != nil {
		return c.fail(fmt.Errorf("write: %w", err))
	}
	return nil
}

// ping sends p, which may be written over, with a ping behind it. That is answered when pong has
// one.
func (c *conn) ping(p []byte) error {
	c.pings.Add(1)
	select {
	case <-c.pong:
	default:
	}
	return c.send(append(p, pingreq<<4, 0))
}

// leave sends DISCONNECT because of why, after which nothing is sent any more: not even the reply
// to what the broker sends meanwhile, which would fail, and by that reset the connection. It
// reports whether the broker can be expected to hang up.
func (c *conn) leave(last []byte, why error) bool {
	if c.send(append(last, disconnect<<4, 0)) != nil {
		return false
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.left.Store(&why)
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return true
}

// part leaves because of why, and ends the connection if the broker does not within closeTimeout.
func (c *conn) part(last []byte, why error) {
	if c.leave(last, why) {
		time.AfterFunc(closeTimeout, func() { _ = c.fail(why) })
	}
}

// hangUp sends last and DISCONNECT, and waits for the broker to hang up. It does not just close the
// socket: with unread bytes in it that is a reset, which can cost the broker what we sent last,
// acknowledgements among it. If DISCONNECT has been sent before, it only waits.
func (c *conn) hangUp(last []byte, why error) {
	if !c.leave(last, why) && c.left.Load() == nil {
		return
	}
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-c.dead:
	case <-late.C:
	}
}

// close hangs up for the last user.
func (c *conn) close(last []byte) {
	if c.users.Add(-1) > 0 {
		return
	}
	c.hangUp(last, errLeft)
	_ = c.fail(errLeft)
	c.running.Wait()
}
