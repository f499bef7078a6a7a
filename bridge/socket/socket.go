// Package socket makes connections that know whether bytes still move, so that a slow line is not
// taken for a dead one: an answer cannot come before the question has left.
package socket

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Conn is a connection whose writes fail when nothing has left for a while, however much there is
// to write. Write deadlines are its own business: SetWriteDeadline does nothing.
type Conn struct {
	net.Conn
	patience time.Duration
	read     atomic.Int64
	written  atomic.Int64
}

// New returns c as a connection of which a write fails when nothing has left for that time.
func New(c net.Conn, patience time.Duration) *Conn { return &Conn{Conn: c, patience: patience} }

// chunk is how much is written at once. A faster line than one that takes the patience for it is
// not slowed down by that.
const chunk = 256 << 10

// Write fails when nothing has left for a while.
func (c *Conn) Write(p []byte) (n int, err error) {
	for left := c.Left(); ; {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(p[n:min(len(p), n+chunk)])
		n += k
		c.written.Add(int64(k))
		now := c.Left()
		if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || now == left) || n == len(p) {
			return n, err
		}
		left = now
	}
}

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Read counts what is read.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// CloseWrite ends the writing side, if the connection can.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Received returns how many bytes have come.
func (c *Conn) Received() int64 { return c.read.Load() }

// Written returns how many bytes have been written.
func (c *Conn) Written() int64 { return c.written.Load() }

// Left returns how many of them have reached the other side's system, as far as this one can tell.
func (c *Conn) Left() int64 { return c.written.Load() - unsent(c.Conn) }

// A line that is slow may hold so many bytes that the other end's system, or a box between, has
// taken; and is not slower than this.
const (
	lineHolds = 1 << 20
	lineSpeed = 20_000 // bytes per second
)

// Crossing returns how long n bytes may take after they were seen to leave.
func Crossing(n int64) time.Duration {
	return time.Duration(min(n, lineHolds)) * time.Second / lineSpeed
}
