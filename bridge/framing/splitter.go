package framing

import (
	"bytes"
	"errors"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// ErrTooLong says that the next line is longer than allowed.
var ErrTooLong = errors.New("line too long")

// Splitter cuts a stream into lines. It copies no line: payloads alias the memory that
// the stream was read into, which is used again when the batches cut from
// it are acknowledged.
//
// The stream is read into what Room returns, Filled says how much it was, and
// Lines takes the lines out. One goroutine at a time may use a Splitter; the
// Acks may run on others.
type Splitter struct {
	pool  *pool
	slab  *slab
	start int // of the bytes not yet taken
	scan  int // no newline in [start:scan]
	end   int // of the bytes read
	lines int64
	bytes int64
}

// NewSplitter returns a Splitter at the start of a stream.
func NewSplitter() *Splitter { return &Splitter{pool: newPool()} }

// Room returns where the next bytes of the stream belong, never empty. It is
// valid until the next call of Lines or Reset.
func (s *Splitter) Room() []byte {
	switch {
	case s.slab == nil:
		s.slab = s.pool.slab(Chunk)
	case s.start > 0 && s.slab.unused():
		s.end = copy(s.slab.buf, s.slab.buf[s.start:s.end])
		s.scan -= s.start
		s.start = 0
	}
	if len(s.slab.buf)-s.end < Chunk/4 {
		s.move()
	}
	return s.slab.buf[s.end:]
}

// move takes the unfinished line to a new slab, which has room for as much again.
func (s *Splitter) move() {
	rest := s.slab.buf[s.start:s.end]
	next := s.pool.slab(max(Chunk, 2*len(rest)))
	copy(next.buf, rest)
	s.slab.release()
	s.slab, s.start, s.scan, s.end = next, 0, s.scan-s.start, len(rest)
}

// Filled says that n bytes of the stream were read into Room.
func (s *Splitter) Filled(n int) { s.end += n }

// Lines takes up to most lines as a batch, with what a Source returns beside it. It returns
// no batch if there is no whole line. If last is true the stream has ended, and what
// stands after the last newline is a line too. A line of more than limit bytes is ErrTooLong,
// which comes with the lines before it, and again with every later call.
func (s *Splitter) Lines(topic string, most, limit int, last bool) (bridge.Batch, bridge.Ack, error) {
	if s.start == s.end {
		return nil, nil, nil
	}
	lot := s.pool.lot()
	batch, err := s.cut(lot.messages[:0], bridge.Message{Topic: topic, Time: time.Now()}, most, limit)
	if rest := s.end - s.start; last && err == nil && s.scan == s.end && rest > 0 && len(batch) < most {
		batch = append(batch, bridge.Message{Topic: topic, Time: time.Now(), Payload: s.slab.buf[s.start:s.end:s.end]})
		s.take(rest)
	}
	lot.messages = batch
	if len(batch) == 0 {
		s.pool.lots.Put(lot)
		return nil, nil, err
	}
	lot.slab = s.slab
	s.slab.retain()
	return batch, lot.ack, err
}

func (s *Splitter) cut(batch bridge.Batch, m bridge.Message, most, limit int) (bridge.Batch, error) {
	for len(batch) < most {
		i := bytes.IndexByte(s.slab.buf[s.scan:s.end], '\n')
		if i < 0 {
			s.scan = s.end
		} else {
			s.scan += i
		}
		if s.scan-s.start > limit {
			return batch, ErrTooLong
		}
		if i < 0 {
			break
		}
		m.Payload = s.slab.buf[s.start:s.scan:s.scan]
		batch = append(batch, m)
		s.take(s.scan + 1 - s.start)
	}
	return batch, nil
}

func (s *Splitter) take(n int) {
	s.lines++
	s.bytes += int64(n)
	s.start += n
	s.scan = s.start
}

// Taken returns how many lines, and bytes with their newlines, were taken
// since the start of the stream.
func (s *Splitter) Taken() (lines, bytes int64) { return s.lines, s.bytes }

// Rest returns how many bytes were read and not taken.
func (s *Splitter) Rest() int { return s.end - s.start }

// Reset forgets what was not taken and starts a new stream.
func (s *Splitter) Reset() {
	s.start, s.scan = s.end, s.end
	s.lines, s.bytes = 0, 0
}
