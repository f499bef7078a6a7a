package natsclient

import (
	"bytes"
	"errors"
	"math"
	"net"
)

// What a server may send at once. The library makes room for a message as large as the server says
// it is, and for a line until it ends; a size that is no number it can have ends the process.
const (
	mostLine    = 1 << 20
	mostMessage = 128 << 20 // with headers; servers allow 64 MiB unless max_pending is made larger, too
	mostHead    = 64 << 10  // of HTTP
)

var errNotNATS = errors.New("the server sends what is no NATS, or far too large: a message may have 128 MiB")

// screen is a connection that fails when what comes has no shape for the library.
type screen struct {
	net.Conn
	web bool // in frames of a WebSocket, behind a head

	head  []byte // what has come of that of HTTP, and then of that of a frame
	open  bool   // that of HTTP is over
	frame uint64 // bytes of a frame that are still to come
	data  bool   // they are of messages

	line []byte // what has come of a line
	left int    // bytes of a message that are still to come
	tail bool   // what ends a message is still to come
}

// Screen returns a connection that fails when what comes has no shape for the library, as a server
// sends it that is another user's.
func Screen(c net.Conn) net.Conn { return &screen{Conn: c} }

func (s *screen) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	look := s.look
	if s.web {
		look = s.unwrap
	}
	if bad := look(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// unwrap looks at what is in the frames of a WebSocket (RFC 6455, 5.2).
func (s *screen) unwrap(b []byte) error {
	for len(b) > 0 {
		if s.frame == 0 {
			s.head = append(s.head, b[0])
			b = b[1:]
			if err := s.behead(); err != nil {
				return err
			}
			continue
		}
		n := min(s.frame, uint64(len(b)))
		if s.data {
			if err := s.look(b[:n]); err != nil {
				return err
			}
		}
		s.frame -= n
		b = b[n:]
	}
	return nil
}

// behead takes a head once it is complete.
func (s *screen) behead() error {
	const control, compressed, masked, length = 0x08, 0x40, 0x80, 0x7f
	h := s.head
	if !s.open {
		if s.open = bytes.HasSuffix(h, []byte("\n\r\n")) || bytes.HasSuffix(h, []byte("\n\n")); s.open {
			if line, _, _ := bytes.Cut(h, []byte("\n")); !bytes.Contains(line, []byte("101")) {
				s.frame = math.MaxUint64 // of nothing: the library refuses that, and says why
			}
			s.head = h[:0]
		} else if len(h) > mostHead {
			return errNotNATS
		}
		return nil
	}
	if len(h) < 2 {
		return nil
	}
	if h[0]&compressed != 0 || h[1]&masked != 0 { // nobody has asked for that
		return errNotNATS
	}
	size, n := h[1]&length, 2
	switch size {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if len(h) < n {
		return nil
	}
	if s.frame = uint64(size); n > 2 {
		s.frame = 0
		for _, c := range h[2:n] {
			s.frame = s.frame<<8 | uint64(c)
		}
	}
	s.data, s.head = h[0]&control == 0, h[:0]
	return nil
}

// look follows what comes as the library does.
func (s *screen) look(b []byte) error {
	for len(b) > 0 {
		if s.left > 0 {
			n := min(s.left, len(b))
			s.left -= n
			b = b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		part := b
		if end >= 0 {
			part = b[:end]
		}
		b = b[len(part):]
		if !s.tail && (end < 0 || len(s.line) > 0) {
			if len(s.line)+len(part) > mostLine {
				return errNotNATS
			}
			s.line = append(s.line, part...)
			part = s.line
		}
		if end < 0 {
			return nil
		}
		b = b[1:]
		if !s.tail {
			size, message, ok := sizeOf(part)
			if !ok {
				return errNotNATS
			}
			s.left, s.tail, s.line = size, message, s.line[:0]
			continue
		}
		s.tail = false
	}
	return nil
}

// sizeOf returns how many bytes follow a line of the protocol, if it is one of a message.
func sizeOf(line []byte) (size int, message, ok bool) {
	sizes := 0
	switch {
	case len(line) < 4:
		return 0, false, true // a word, or what the library refuses
	case is(line, "msg") && isBlank(line[3]):
		sizes = 1
	case is(line, "hmsg"):
		sizes = 2
	case is(line, "info") || is(line, "-err"):
	default:
		return 0, false, true
	}
	rest := bytes.TrimSuffix(line[4:], []byte("\r"))
	last := trimmed(rest)
	// The library takes the next line for what belongs to a line without anything, and cuts off the
	// end of one that has a \r elsewhere.
	if len(last) == 0 || bytes.IndexByte(rest, '\r') >= 0 {
		return 0, false, false
	}
	for i := range sizes { // from the last one on
		at, n := len(last), 0
		for power := 1; at > 0 && last[at-1] >= '0' && last[at-1] <= '9'; at-- {
			n += int(last[at-1]-'0') * power
			if power = min(power*10, mostMessage+1); n > mostMessage {
				return 0, false, false
			}
		}
		if at == len(last) || at > 0 && !isBlank(last[at-1]) {
			return 0, false, false
		}
		if i == 0 {
			size = n
		}
		last = trimmed(last[:at])
	}
	return size, sizes > 0, true
}

// is reports whether a line begins with a verb, in any case.
func is(line []byte, verb string) bool {
	for i := range len(verb) {
		if line[i]|0x20 != verb[i] {
			return false
		}
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// trimmed returns text without the blanks at its end.
func trimmed(text []byte) []byte {
	for len(text) > 0 && isBlank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}
