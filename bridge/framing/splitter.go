package framing

import (
	"bytes"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// frontSize is how much of a line that is too long is handed on.
const frontSize = 1 << 10

// Long is a line that is longer than allowed. Its message has the front of it, which is the same
// each time it is read.
type Long struct {
	Index  int   // in the batch
	Line   int64 // its number in the stream, from 1
	Offset int64 // of its first byte in the stream
	Size   int64 // without its newline
}

// Refuse returns the [bridge.Refusals] of the lines that were too long, nil if there is none. Place
// says which one it is: "line 7 of stdin".
func Refuse(long []Long, limit int, place func(Long) string) error {
	if len(long) == 0 {
		return nil
	}
	refused := make(bridge.Refusals, len(long))
	for i, l := range long {
		refused[i] = bridge.Refusal{Index: l.Index, Err: fmt.Errorf("%s has %d bytes, and max_line is %v: raise max_line to let it pass",
			place(l), l.Size, bridge.Size(limit))}
	}
	return refused
}

// Splitter cuts a stream into lines. It copies no line: payloads alias the memory that
// the stream was read into, which is used again when the batches cut from
// it are acknowledged. Of a line that is too long it holds the front only.
//
// The stream is read into what Room returns, Filled says how much it was, and
// Lines takes the lines out. One goroutine at a time may use a Splitter; the
// Acks may run on others.
type Splitter struct {
	pool    *pool
	slab    *slab
	start   int // of the bytes not yet taken
	scan    int // no newline in [start:scan]
	end     int // of the bytes read
	skipped Skipped
	lines   int64
	bytes   int64
}

// Skipped is what has been read of a line that is too long, and let go.
type Skipped struct {
	size  int64
	front []byte
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

// Lines takes up to most lines as a batch, with its Ack. It returns no batch if there is no whole
// line. If last is true the stream has ended, and what stands after the last newline is a line too.
// Of lines of more than limit bytes the batch has the front, and Long says which they are.
func (s *Splitter) Lines(topic string, most, limit int, last bool) (bridge.Batch, bridge.Ack, []Long) {
	if s.Rest() == 0 {
		return nil, nil, nil
	}
	lot := s.pool.lot()
	m := bridge.Message{Topic: topic, Time: time.Now()}
	batch, long := s.cut(lot.messages[:0], m, most, limit)
	if last && s.scan == s.end && s.Rest() > 0 && len(batch) < most {
		batch, long = s.take(batch, m, long, 0)
	}
	lot.messages = batch
	if len(batch) == 0 {
		s.pool.lots.Put(lot)
		return nil, nil, nil
	}
	lot.slab = s.slab
	s.slab.retain()
	return batch, lot.ack, long
}

func (s *Splitter) cut(batch bridge.Batch, m bridge.Message, most, limit int) (_ bridge.Batch, long []Long) {
	for len(batch) < most {
		i := bytes.IndexByte(s.slab.buf[s.scan:s.end], '\n')
		if i < 0 {
			s.scan = s.end
		} else {
			s.scan += i
		}
		if s.scan-s.start > limit || s.skipped.size > 0 {
			s.skip(limit)
		}
		if i < 0 {
			break
		}
		batch, long = s.take(batch, m, long, 1)
	}
	return batch, long
}

// skip lets go of what has been scanned of a line that is too long.
func (s *Splitter) skip(limit int) {
	if s.skipped.size == 0 {
		s.skipped.front = bytes.Clone(s.slab.buf[s.start : s.start+min(limit, frontSize)])
	}
	s.skipped.size += int64(s.scan - s.start)
	s.start = s.scan
}

// take adds the line that ends at scan to the batch. Its newline has that many bytes.
func (s *Splitter) take(batch bridge.Batch, m bridge.Message, long []Long, newline int) (bridge.Batch, []Long) {
	m.Payload = s.slab.buf[s.start:s.scan:s.scan]
	if s.skipped.size > 0 {
		m.Payload = s.skipped.front
		long = append(long, Long{Index: len(batch), Line: s.lines + 1, Offset: s.bytes, Size: s.skipped.size})
	}
	s.lines++
	s.bytes += s.skipped.size + int64(s.scan-s.start+newline)
	s.start = s.scan + newline
	s.scan = s.start
	s.skipped = Skipped{}
	return append(batch, m), long
}

// Taken returns how many lines, and bytes with their newlines, were taken
// since the start of the stream.
func (s *Splitter) Taken() (lines, bytes int64) { return s.lines, s.bytes }

// Rest returns how many bytes were read and not taken.
func (s *Splitter) Rest() int64 { return s.skipped.size + int64(s.end-s.start) }

// Held returns how many lines, the last one perhaps without its end, were read and not taken.
func (s *Splitter) Held() int {
	if s.Rest() == 0 {
		return 0
	}
	held := s.slab.buf[s.start:s.end]
	n := bytes.Count(held, []byte{'\n'})
	if len(held) == 0 || held[len(held)-1] != '\n' {
		n++
	}
	return n
}

// Reset forgets what was not taken and starts a new stream.
func (s *Splitter) Reset() {
	s.start, s.scan = s.end, s.end
	s.lines, s.bytes = 0, 0
	s.skipped = Skipped{}
}

// Skipped returns what Skip needs to go on where the stream is now, in the middle of a line that is
// too long. Elsewhere it is zero.
func (s *Splitter) Skipped() Skipped { return s.skipped }

// Skip says, after Reset, that the stream goes on behind what was skipped.
func (s *Splitter) Skip(skipped Skipped) { s.skipped = skipped }
