package faulttest

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

const (
	chunkSize = 16 << 10
	queueSize = 16 // chunks
)

// stream is one direction of a connection: a reader, a queue and a writer.
type stream struct {
	conn     *conn
	up       bool
	src, dst *net.TCPConn
	moved    *atomic.Int64
	queue    chan chunk
	in, out  gate

	// Of the writer.
	under  *state    // since which
	passed int64     // so many bytes were written,
	next   time.Time // and when the rate lets it go on
}

// chunk is what one read returned.
type chunk struct {
	data []byte
	at   time.Time
	err  error // the last one: what ended the source
}

func newStream(c *conn, up bool, src, dst *net.TCPConn) *stream {
	s := &stream{conn: c, up: up, src: src, dst: dst, moved: &c.proxy.down, queue: make(chan chunk, queueSize)}
	if up {
		s.moved = &c.proxy.up
	}
	s.in.left.L, s.out.left.L = &s.in.mu, &s.out.mu
	return s
}

// read fills the queue until the source ends, or the connection does. The
// deadline is cleared before the state is looked at: a Set after that wakes it.
func (s *stream) read() {
	buf := make([]byte, chunkSize)
	for {
		_ = s.src.SetReadDeadline(time.Time{})
		st := s.in.enter(&s.conn.proxy.state)
		switch {
		case s.conn.isOver():
			s.in.leave()
			s.discard(buf)
			return
		case st.silent(s.up):
			s.in.leave()
			s.conn.wait(st, 0)
			continue
		}
		n, err := s.src.Read(buf)
		s.in.leave()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		if n > 0 || err != nil {
			select {
			case s.queue <- chunk{data: slices.Clone(buf[:n]), at: time.Now(), err: err}:
			case <-s.conn.over:
			}
		}
		if err != nil {
			return
		}
	}
}

// discard reads until the peer closes, or the proxy its socket.
func (s *stream) discard(buf []byte) {
	for {
		_ = s.src.SetReadDeadline(time.Time{})
		if _, err := s.src.Read(buf); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// write empties the queue until the end of the source has been passed on, or
// the connection is over.
func (s *stream) write() {
	for {
		select {
		case k := <-s.queue:
			if !s.forward(k) {
				return
			}
		case <-s.conn.over:
			return
		}
	}
}

// forward passes on one chunk, and reports whether more may follow.
func (s *stream) forward(k chunk) bool {
	for !s.conn.isOver() {
		_ = s.dst.SetWriteDeadline(time.Time{})
		st := s.out.enter(&s.conn.proxy.state)
		pause := s.pause(st, k)
		switch {
		case st.silent(s.up), st.HalfOpen && len(k.data) == 0 && k.err != nil:
			s.out.leave()
			s.conn.wait(st, 0)
		case st.HalfOpen:
			s.conn.proxy.discarded.Add(int64(len(k.data)))
			k.data = nil
			s.out.leave()
			if k.err == nil {
				return true
			}
		case pause > 0:
			s.out.leave()
			s.conn.wait(st, pause)
		case len(k.data) == 0:
			s.out.leave()
			return s.last(k.err)
		default:
			n, err := s.some(st, k.data)
			s.out.leave()
			k.data = k.data[n:]
			switch {
			case st.cut(s.up) > 0 && s.passed == st.cut(s.up):
				s.cut(st)
				return false
			case err != nil:
				return s.last(err)
			}
		}
		if len(k.data) == 0 && k.err == nil {
			return true
		}
	}
	return false
}

// pause returns how long latency and rate keep a chunk back.
func (s *stream) pause(st *state, k chunk) time.Duration {
	if s.under != st {
		s.under, s.passed, s.next = st, 0, time.Time{}
	}
	until := s.next
	if due := k.at.Add(st.Latency); st.Latency > 0 && due.After(until) {
		until = due
	}
	if until.IsZero() {
		return 0
	}
	return time.Until(until)
}

// some writes as much as the state lets it at once. Bytes are counted before
// they can arrive.
func (s *stream) some(st *state, data []byte) (int, error) {
	n := st.burst(len(data))
	if cut := st.cut(s.up); cut > 0 {
		n = int(min(int64(n), cut-s.passed))
	}
	s.moved.Add(int64(n))
	written, err := s.dst.Write(data[:n])
	s.moved.Add(int64(written - n))
	s.passed += int64(written)
	if st.Rate > 0 {
		now := time.Now()
		if s.next.Before(now) {
			s.next = now
		}
		s.next = s.next.Add(time.Duration(float64(written) / float64(st.Rate) * float64(time.Second)))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return written, err
}

func (s *stream) cut(st *state) {
	if st.FIN {
		s.conn.finish()
		return
	}
	s.conn.drain(s.dst)
	s.conn.reset()
}

// last passes on how one side ended.
func (s *stream) last(err error) bool {
	switch {
	case s.conn.isOver():
	case errors.Is(err, io.EOF):
		_ = s.dst.CloseWrite()
	default:
		s.conn.reset()
	}
	return false
}
