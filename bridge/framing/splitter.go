package framing

import (
	"bytes"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

// frontSize is how much of a line that is too long is handed on, unless Truncate says more.
const frontSize = 1 << 10

// Long is a line that is longer than allowed. Its message has the front of it, which is the same
// each time it is read.
type Long struct {
	Index  int   // in the batch
	Line   int64 // its number in the stream, from 1
	Offset int64 // of its first byte in the stream
	Size   int64 // without its newline
}

// Span is where a message is in the stream, with what separates it from the next one.
type Span struct{ Begin, End int64 }

// Splitter cuts a stream into lines. It copies no line: payloads alias the memory that
// the stream was read into, which is used again when the batches cut from
// it are acknowledged. Of a line that is too long it holds the front only.
//
// The stream is read into what Room returns, Filled says how much it was, and
// Lines takes the lines out. One goroutine at a time may use a Splitter; the
// Acks may run on others.
type Splitter struct {
	Limit    int    // longest line allowed, in bytes without its newline
	Truncate bool   // a longer one has that many bytes in its message, and not the first KiB
	Newline  string // default "\n"; one of two bytes begins at an even offset in the stream

	// Table is what the columns of the stream are called; nil: its first row will tell, with the
	// codec csv. Text, if it is not nil, decodes that row.
	Table *record.Table
	Text  func([]byte) []byte

	pool    *pool
	slab    *slab
	begin   int // of what the last call of Lines took
	until   int // its end
	start   int // of the bytes not yet taken
	scan    int // no newline in [start:scan]
	end     int // of the bytes read
	skipped Skipped
	lines   int64
	bytes   int64
	spans   []Span // of what the last call of Lines took
	lot     *lot   // the same
	kept    bool   // see Kept
	codec   Codec
	framer  Framer        // nil: lines
	named   *record.Table // by the codec
	broken  error
}

// Skipped is what has been read of a line that is too long, and let go.
type Skipped struct {
	size  int64
	front []byte
}

// NewSplitter returns a Splitter at the start of a stream.
func NewSplitter(limit int) *Splitter {
	return &Splitter{Limit: limit, Newline: "\n", pool: newPool()}
}

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
// Of lines that are too long the batch has the front, and Long says which they are.
func (s *Splitter) Lines(topic string, most int, last bool) (bridge.Batch, bridge.Ack, []Long) {
	s.begin, s.until, s.spans = s.start, s.start, s.spans[:0]
	if s.Rest() == 0 {
		return nil, nil, nil
	}
	lot := s.pool.lot()
	m := bridge.Message{Topic: topic, Time: time.Now()}
	var batch bridge.Batch
	var long []Long
	if s.framer != nil {
		batch, long = s.frames(lot.messages[:0], m, most, last)
	} else {
		batch, long = s.cut(lot.messages[:0], m, most)
	}
	if last && s.framer == nil && s.Rest() > 0 && len(batch) < most {
		s.scan = s.end
		batch, long = s.take(batch, m, long, 0)
	}
	lot.messages, s.lot = batch, lot
	if len(batch) == 0 {
		s.pool.lots.Put(lot)
		return nil, nil, nil
	}
	lot.slab, lot.text = s.slab, lot.text[:0]
	s.slab.retain()
	if s.kept = s.pool.owed.Add(1) <= mostKept; !s.kept {
		return batch, s.pool.settled, long
	}
	return batch, lot.ack, long
}

func (s *Splitter) cut(batch bridge.Batch, m bridge.Message, most int) (_ bridge.Batch, long []Long) {
	for len(batch) < most {
		if batch = s.quick(batch, m, most); len(batch) == most {
			break
		}
		i := s.find()
		if i < 0 {
			s.scan = s.end - (s.end-s.start)%len(s.Newline)
		} else {
			s.scan = i
		}
		if s.scan-s.start > s.Limit || s.skipped.size > 0 {
			s.skip()
		}
		if i < 0 {
			break
		}
		batch, long = s.take(batch, m, long, len(s.Newline))
	}
	return batch, long
}

// quick takes the lines of the usual kind: those at the front that are whole, and not too long.
func (s *Splitter) quick(batch bridge.Batch, m bridge.Message, most int) bridge.Batch {
	if s.skipped.size > 0 || len(s.Newline) > 1 {
		return batch
	}
	buf, newline, had := s.slab.buf[:s.end], s.Newline[0], len(batch)
	start, end := s.start, s.scan
	for len(batch) < most {
		i := bytes.IndexByte(buf[end:], newline)
		if end += i; i < 0 || end-start > s.Limit {
			break
		}
		m.Payload = buf[start:end:end]
		batch = append(batch, m)
		s.spans = append(s.spans, Span{s.bytes + int64(start-s.start), s.bytes + int64(end+1-s.start)})
		start = end + 1
		end = start
	}
	s.lines += int64(len(batch) - had)
	s.bytes += int64(start - s.start)
	if start > s.start {
		s.start, s.scan, s.until = start, start, start
	}
	return batch
}

// find returns where the next newline begins, or -1.
func (s *Splitter) find() int {
	if len(s.Newline) == 1 {
		if i := bytes.IndexByte(s.slab.buf[s.scan:s.end], s.Newline[0]); i >= 0 {
			return s.scan + i
		}
		return -1
	}
	newline := []byte(s.Newline)
	for at := s.scan; ; at++ {
		i := bytes.Index(s.slab.buf[at:s.end], newline)
		if i < 0 {
			return -1
		}
		if at += i; (at-s.start)%len(newline) == 0 {
			return at
		}
	}
}

// skip lets go of what has been scanned of a line that is too long.
func (s *Splitter) skip() {
	if s.skipped.size == 0 {
		line := s.slab.buf[s.start:s.scan]
		keep := min(s.Limit, frontSize)
		if s.Truncate {
			keep = s.Limit - s.Limit%len(s.Newline)
			for n := 1; n < utf8.UTFMax && n <= keep && len(s.Newline) == 1 && !utf8.RuneStart(line[keep]); n++ {
				keep--
			}
		}
		s.skipped.front = bytes.Clone(line[:keep])
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
	begin := s.bytes
	s.bytes += s.skipped.size + int64(s.scan-s.start+newline)
	s.spans = append(s.spans, Span{begin, s.bytes})
	s.start = s.scan + newline
	s.scan, s.until = s.start, s.start
	s.skipped = Skipped{}
	return append(batch, m), long
}

// Taken returns how many lines, and bytes with their newlines, were taken
// since the start of the stream.
func (s *Splitter) Taken() (lines, bytes int64) { return s.lines, s.bytes }

// Spans returns where the messages are that the last call of Lines took, valid until the next one.
func (s *Splitter) Spans() []Span { return s.spans }

// Err returns why no messages can be made of the stream: of csv, its first row names no columns.
func (s *Splitter) Err() error { return s.broken }

// Raw returns the bytes that the last call of Lines took, newlines and all, but for the front of a
// line that is too long. It is valid until the next call of Room.
func (s *Splitter) Raw() []byte {
	if s.slab == nil {
		return nil
	}
	return s.slab.buf[s.begin:s.until]
}

// Kept reports whether the Ack of what the last call of Lines took keeps that in memory until it is
// called. It does not if many are owed, and neither should who wraps it.
func (s *Splitter) Kept() bool { return s.kept }

// Unfinished returns what was read and not taken, valid until the next call of Room.
func (s *Splitter) Unfinished() []byte {
	if s.slab == nil {
		return nil
	}
	return s.slab.buf[s.start:s.end]
}

// Rest returns how many bytes were read and not taken.
func (s *Splitter) Rest() int64 { return s.skipped.size + int64(s.end-s.start) }

// Held returns how many messages, the last one perhaps without its end, were read and not taken.
func (s *Splitter) Held() (n int) {
	if s.Rest() == 0 {
		return 0
	}
	held := s.slab.buf[s.start:s.end]
	if s.framer != nil {
		return s.framed(held)
	}
	n = bytes.Count(held, []byte{'\n'})
	if len(held) == 0 || held[len(held)-1] != '\n' {
		n++
	}
	return n
}

// Reset forgets what was not taken and starts a new stream.
func (s *Splitter) Reset() {
	s.start, s.scan = s.end, s.end
	s.lines, s.bytes, s.broken = 0, 0, nil
	s.skipped = Skipped{}
}

// Skipped returns what Skip needs to go on where the stream is now, in the middle of a line that is
// too long. Elsewhere it is zero.
func (s *Splitter) Skipped() Skipped { return s.skipped }

// Skip says, after Reset, that the stream goes on behind what was skipped.
func (s *Splitter) Skip(skipped Skipped) { s.skipped = skipped }
