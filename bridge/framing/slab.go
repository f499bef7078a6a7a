package framing

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// pool keeps slabs and lots for the next time.
type pool struct {
	slabs sync.Pool
	lots  sync.Pool
	owed  atomic.Int32 // batches that are not settled
}

// mostKept is how many batches that are not settled may keep their memory until they are. More of
// them are owed where a step holds messages for long; what it does not need of them is let go.
const mostKept = 64

func newPool() *pool {
	p := &pool{}
	p.slabs.New = func() any { return &slab{pool: p, buf: make([]byte, Chunk)} }
	p.lots.New = func() any {
		l := &lot{pool: p}
		l.ack = l.settle
		return l
	}
	return p
}

// slab returns a slab of at least size bytes that its caller uses.
func (p *pool) slab(size int) *slab {
	if size > Chunk {
		s := &slab{pool: p, buf: make([]byte, size)}
		s.users.Store(1)
		return s
	}
	s := p.slabs.Get().(*slab)
	s.users.Store(1)
	return s
}

func (p *pool) lot() *lot { return p.lots.Get().(*lot) }

// settled is the Ack of batches that keep no memory.
func (p *pool) settled(context.Context, error) error {
	p.owed.Add(-1)
	return nil
}

// slab is memory that a Splitter and the batches cut from it share.
type slab struct {
	pool  *pool
	buf   []byte
	users atomic.Int32
}

// unused reports whether no batch aliases the slab, seen from its Splitter.
func (s *slab) unused() bool { return s.users.Load() == 1 }

func (s *slab) retain() { s.users.Add(1) }

func (s *slab) release() {
	// Slabs of unusual size served one long line; keeping them would keep memory.
	if s.users.Add(-1) == 0 && len(s.buf) == Chunk {
		s.pool.slabs.Put(s)
	}
}

// lot is a batch with its Ack, made once and used many times.
type lot struct {
	pool     *pool
	messages bridge.Batch
	slab     *slab
	text     []byte // of messages that are made of what stands in the slab
	ack      bridge.Ack
}

func (l *lot) settle(context.Context, error) error {
	l.pool.owed.Add(-1)
	l.slab.release()
	l.slab = nil
	if cap(l.text) > 8*Chunk {
		l.text = nil
	}
	l.pool.lots.Put(l)
	return nil
}
