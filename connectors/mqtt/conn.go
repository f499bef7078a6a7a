package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	slabSize = 64 << 10
	minRead  = 4 << 10 // less room than this is not worth a system call
)

// conn is the connection that lies under paho. paho speaks the session
// protocol through it (CONNECT, SUBSCRIBE, PINGREQ); the PUBLISH family never
// reaches paho but goes to the peer, many packets at a time and without a copy. Bytes
// that paho would choke on never get there either: it allocates what a length field
// asks for, and panics over a SUBACK that is too long.
//
// Every write has a deadline, since paho's own ping would block for ever on
// a socket whose other end stopped reading.
type conn struct {
	net.Conn
	peer    peer
	who     identity
	limit   int           // of a packet
	timeout time.Duration // of a write

	filters atomic.Int32  // that the SUBSCRIBE under way asks for
	ping    chan struct{} // holds one while paho waits for an answer to its ping

	wmu  sync.Mutex // held while writing, so that packets stay whole
	left bool       // DISCONNECT has been sent; guarded by wmu

	once  sync.Once
	dead  chan struct{} // closed by fail
	cause error         // why; to be read when dead is closed

	// The rest belongs to the one goroutine that reads.
	slab    []byte
	r, w    int  // slab[r:w] is still to be parsed
	need    int  // size of the packet that begins at r, if known
	skip    int  // bytes to come of a packet that is too large
	kept    bool // messages point into slab
	out     []byte
	pending bool // the peer has frames to flush
	greeted bool // CONNACK has been seen
}

// peer is the source or sink behind a conn. frame and flush are called by the
// reading goroutine.
type peer interface {
	// frame takes a packet of the PUBLISH family. Only a PUBLISH may be kept.
	frame(f frame) error
	// flush is called after a run of frames, with the connection that they came by. It may
	// block. If c.ping becomes readable meanwhile it takes from it, returns false and
	// is called again.
	flush(c *conn) bool
	// lost is called once, when the connection is of no use any more.
	lost(err error)
}

func newConn(c net.Conn, p peer, who identity, s *ClientSettings) *conn {
	return &conn{
		Conn: c, peer: p, who: who,
		limit: int(s.MaxPacket), timeout: s.WriteTimeout,
		ping: make(chan struct{}, 1), dead: make(chan struct{}),
	}
}

// fail closes the connection because of err, unless that has happened already. It returns
// the first reason.
func (c *conn) fail(err error) error {
	c.once.Do(func() {
		c.cause = err
		close(c.dead)
		_ = c.Close()
		c.peer.lost(err)
	})
	return c.cause
}

// Write is paho's.
func (c *conn) Write(p []byte) (int, error) {
	if p[0]>>4 == pingreq {
		select {
		case c.ping <- struct{}{}:
		default:
		}
	}
	if err := c.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send writes whole packets.
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
	if c.left {
		return net.ErrClosed // and no reason to reset the connection, see leave
	}
	err := c.SetWriteDeadline(time.Now().Add(c.timeout))
	if err == nil {
		_, err = c.Conn.Write(p)
	}
	if err != nil {
		return c.fail(fmt.Errorf("write: %w", err))
	}
	return nil
}

// leave sends DISCONNECT, after which nothing is sent any more: not even the reply to
// what the broker sends meanwhile, which would fail, and by that reset the connection. It reports
// whether the broker can be expected to hang up.
func (c *conn) leave() bool {
	if c.send([]byte{disconnect << 4, 0}) != nil {
		return false
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.left = true
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return true
}

// Read is paho's: it sees CONNACK, SUBACK and PINGRESP.
func (c *conn) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.out) > 0:
			n := copy(p, c.out)
			c.out = c.out[n:]
			return n, nil
		case c.pending:
			c.pending = !c.peer.flush(c)
			if c.pending {
				// We have stopped reading, so the answer cannot come, and the broker
				// is not to blame.
				c.out = append(c.out, pingresp<<4, 0)
			}
		default:
			if err := c.fill(); err != nil {
				return 0, err
			}
			if err := c.walk(); err != nil {
				return 0, c.fail(err)
			}
		}
	}
}

// fill reads from the socket once.
func (c *conn) fill() error {
	c.makeRoom()
	n, err := c.Conn.Read(c.slab[c.w:])
	c.w += n
	if n > 0 {
		// Whatever arrives proves the broker alive. The true PINGRESP may be far
		// behind, in a backlog that takes longer than paho waits.
		select {
		case <-c.ping:
			c.out = append(c.out, pingresp<<4, 0)
		default:
		}
		return nil
	}
	select {
	case <-c.dead:
		return c.cause
	default:
	}
	if errors.Is(err, net.ErrClosed) {
		return err // closed by paho, which tells the reason to its handler
	}
	return c.fail(c.describe(err))
}

// describe makes sure that no io.EOF gets out: to the engine it means success.
func (c *conn) describe(err error) error {
	closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case closed && !c.greeted:
		return errors.New("connection closed by the broker, which did not answer CONNECT")
	case closed && c.who.unique:
		return errors.New("connection closed by the broker")
	case closed:
		return fmt.Errorf("connection closed by the broker (if this repeats, another client may be using client_id %q)", c.who.clientID)
	}
	return fmt.Errorf("read: %w", err)
}

// makeRoom sees to it that slab has room to read into. A big packet gets room
// in steps, as its bytes arrive: its length field alone is not to be trusted.
func (c *conn) makeRoom() {
	rest := c.w - c.r
	if rest == 0 && !c.kept {
		c.r, c.w = 0, 0
	}
	fits := c.need > 0 && c.r+c.need <= len(c.slab)
	if fits || len(c.slab)-c.w >= minRead {
		return
	}
	slab := make([]byte, max(slabSize, min(c.need, 4*rest)))
	copy(slab, c.slab[c.r:c.w])
	c.slab, c.r, c.w, c.kept = slab, 0, rest, false
}

// walk hands on every whole packet in slab.
func (c *conn) walk() error {
	c.need = 0
	for c.r < c.w {
		if n := min(c.skip, c.w-c.r); n > 0 {
			c.r, c.skip = c.r+n, c.skip-n
			continue
		}
		f, whole, err := nextFrame(c.slab[c.r:c.w], c.limit)
		if errors.Is(err, errTooLarge) && f.kind() == publish {
			if whole, err = c.cut(&f); err == nil && whole {
				continue
			}
		}
		if err != nil {
			return err
		}
		if !whole {
			c.need = f.size
			return nil
		}
		if err := c.dispatch(f, c.slab[c.r:c.r+f.size]); err != nil {
			return err
		}
		c.r += f.size
	}
	return nil
}

func (c *conn) dispatch(f frame, raw []byte) error {
	kind := f.kind()
	if c.greeted == (kind == connack) {
		return fmt.Errorf("unexpected packet of type %d: CONNACK comes first, and once", kind)
	}
	switch kind {
	case connack:
		if len(f.body) != 2 || f.body[1] > 5 {
			return fmt.Errorf("%w: CONNACK", errMalformed)
		}
		c.greeted = true
	case suback:
		if err := c.checkSuback(f.body); err != nil {
			return err
		}
	case pingresp:
		if len(f.body) != 0 {
			return fmt.Errorf("%w: PINGRESP", errMalformed)
		}
		return nil // fill has answered the ping
	default:
		c.pending = true
		c.kept = c.kept || kind == publish
		return c.peer.frame(f)
	}
	c.out = append(c.out, raw...)
	return nil
}

func (c *conn) checkSuback(body []byte) error {
	asked := int(c.filters.Swap(0))
	if asked == 0 || len(body) != 2+asked {
		return fmt.Errorf("%w: SUBACK of %d bytes for %d filters", errMalformed, len(body), asked)
	}
	for _, code := range body[2:] {
		if code > 2 && code != 0x80 {
			return fmt.Errorf("%w: SUBACK with return code %#x", errMalformed, code)
		}
	}
	return nil
}

func errUnexpected(f frame) error { return fmt.Errorf("unexpected packet of type %d", f.kind()) }
