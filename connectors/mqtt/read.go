package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"net"
)

// readAll reads until the connection ends.
func (c *conn) readAll() {
	for {
		err := c.fill()
		if err == nil {
			err = c.walk()
		}
		if c.pending {
			c.pending = false
			c.peer.flush(c)
		}
		if err != nil {
			_ = c.fail(err)
			return
		}
	}
}

// fill reads from the socket once.
func (c *conn) fill() error {
	c.makeRoom()
	n, err := c.net.Read(c.slab[c.w:])
	c.w += n
	if n == 0 && err != nil {
		return c.describe(err)
	}
	return nil
}

// describe makes sure that no io.EOF gets out: to the engine it means success.
func (c *conn) describe(err error) error {
	switch closed, why := hungUp(err), c.left.Load(); {
	case closed && why != nil: // we have asked for it
		return *why
	case closed && !c.greeted:
		return errNotGreeted
	case closed && c.who.unique:
		return errHungUp
	case closed:
		return fmt.Errorf("%w (if this repeats, another client may be using client_id %q)", errHungUp, c.who.clientID)
	case errors.Is(err, net.ErrClosed):
		return err // the reason is known, see fail
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
		f.five = c.who.five
		if !c.greeted && c.slab[c.r]>>4 != connack {
			return unexpectedError(c.slab[c.r])
		}
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
		if err := c.dispatch(f); err != nil {
			return err
		}
		c.r += f.size
	}
	return nil
}

func (c *conn) dispatch(f frame) error {
	kind := f.kind()
	if q := c.question.Load(); q != nil && q.kind == kind && q.answers(f) {
		c.question.Store(nil)
		if err := q.check(f.body); err != nil {
			return err
		}
		c.greeted, c.pending = true, true // an end that has joined may have something to take over
		close(q.done)
		return nil
	}
	switch {
	case kind == pingresp && len(f.body) == 0:
		if c.pings.Add(-1) <= 0 {
			signal(c.pong)
		}
		return nil
	case kind == pingresp:
		return fmt.Errorf("%w: PINGRESP", errMalformed)
	case kind == disconnect && c.who.five:
		if left := c.left.Load(); left != nil {
			return *left
		}
		return disconnected(f.body)
	case kind < publish || kind > pubcomp:
		return unexpectedError(f.head)
	case kind == puback && bytes.HasPrefix(f.body, noticeID):
		return c.noticed(f)
	}
	c.pending = true
	c.kept = c.kept || kind == publish
	return c.peer.frame(f)
}

// cut hands on the beginning of a PUBLISH that is too large, when there is enough to tell which
// message it is, and skips the rest. Otherwise it sets the size of f to what is needed for that.
func (c *conn) cut(f *frame) (done bool, err error) {
	header, enough := f.header, f.beginning(c.limit)
	switch {
	case header+enough > f.size:
		return false, fmt.Errorf("%w: PUBLISH", errMalformed)
	case len(f.body) < enough:
		f.size = header + enough
		return false, nil
	}
	size := f.size
	f.body, f.cut = f.body[:min(len(f.body), max(enough, c.limit))], true
	if err := c.dispatch(*f); err != nil {
		return false, err
	}
	c.r += header + len(f.body)
	c.skip = size - header - len(f.body)
	return true, nil
}
