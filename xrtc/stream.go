package xrtc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Between attempts of a stream to go on after an error.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 15 * time.Second
)

// Stream returns the items of the named portals as they come, oldest first unless r says otherwise.
// It begins behind r.After, or else with what is new to the session: in a fresh one, with all that
// the server holds. It goes on over the server's time limit and over new sessions until ctx is
// done, which ends it without an error, or the caller breaks off.
//
// Items that the server still holds neither get lost nor come twice, as long as no other goroutine
// gets items of the same portals with this Client. When a Stream is broken off, or ctx is done, the
// server may have sent items that nobody took. The next one gets them if it has r.After, for which
// it logs in anew.
//
// With an error that may pass ([IsTemporary]) a caller who ranges on has the Stream go on after a
// pause, in a new session; after any other error it ends.
func (c *Client) Stream(ctx context.Context, r GetRequest) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for items, err := range c.StreamBatches(ctx, r) {
			if err != nil && !yield(Item{}, err) {
				return
			}
			for i := range items {
				if !yield(items[i], nil) {
					return
				}
			}
		}
	}
}

// StreamBatches is [Client.Stream] with the items that came together in one slice, which is the
// caller's.
func (c *Client) StreamBatches(ctx context.Context, r GetRequest) iter.Seq2[[]Item, error] {
	return func(yield func([]Item, error) bool) {
		s := stream{client: c, request: r, cursor: r.After.Clone(), taken: new(Cursor)}
		if now := c.now(); r.After != nil && now.read.Load() {
			s.session, s.unsure = now, true // it may have had what comes behind r.After
		}
		err := r.check()
		switch {
		case err != nil:
		case r.All != (len(r.Portals) == 0):
			err = errors.New("a stream needs to name its portals, or to be of all")
		}
		if err != nil {
			yield(nil, fmt.Errorf("stream: %w: %w", ErrRequest, err))
			return
		}
		if r.Every <= 0 {
			r.Every = time.Second
		}
		s.request = r
		for failures := 0; ctx.Err() == nil; {
			began := time.Now()
			some, err := s.once(ctx, yield)
			switch {
			case errors.Is(err, errBroken) || ctx.Err() != nil:
				return
			case err != nil:
				if !yield(nil, fmt.Errorf("stream: %w", err)) || !IsTemporary(err) {
					return
				}
				if some {
					failures = 0
				}
				s.unsure = s.unsure || mayHaveSent(err)
				failures++
			case r.Once:
				return
			case r.Mode == Probe || len(s.request.Portals) == 0:
				failures = 0
				_ = c.sleep(ctx, r.Every) // the next request tells if the client was closed
				continue
			case some || time.Since(began) > min(time.Second, c.Limits().GetItemTimeout/2):
				failures = 0
				continue
			default: // a server that ends at once, as one does that is being stopped
				failures++
			}
			_ = c.sleep(ctx, min(backoffMost, backoffFirst<<min(failures-1, 10)))
		}
	}
}

// errBroken says that the caller broke off.
var errBroken = errors.New("broken off")

// mayHaveSent reports whether the server may have sent items to a session that never arrived.
func mayHaveSent(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.Status != http.StatusOK {
		return e.Status >= 500 && e.Status != http.StatusServiceUnavailable
	}
	var network *net.OpError
	return !errors.As(err, &network) || network.Op != "dial"
}

// stream is a Stream at work.
type stream struct {
	client  *Client
	request GetRequest
	cursor  *Cursor   // what the caller has
	session *session  // of the last request
	taken   *Cursor   // what the caller had when that session began
	unsure  bool      // the session may have given us items that never arrived
	looked  time.Time // for portals that are not known
	reader  *bufio.Reader
	answer  wire.Answer
	long    []byte
}

// body returns the request for a session. In a new one it begins behind what the caller has.
func (s *stream) body(now *session) []byte {
	places := now.limits.Announced
	if now != s.session {
		for portal, m := range s.cursor.portals {
			// It is another server, with nothing of what we had from the one before. Places tell
			// that better.
			if (!places || m.Life == 0) && now.time > 0 && m.Time-now.time > clockSkew.Milliseconds() {
				s.cursor.forget(portal)
			}
		}
		s.session, s.taken = now, s.cursor.Clone()
	}
	get := s.request.wire(Stream, FIFO)
	for i := range get.Portals {
		p := &get.Portals[i]
		switch m := s.taken.portals[p.ID]; {
		case m == nil:
		case places && m.Life > 0:
			p.After = wire.Place(m.Place)
		default:
			p.Since = max(p.Since, m.Time)
		}
	}
	text := encode(get)
	// fresh leaves out what the server then sends again
	if most, _ := s.client.sizeMax(s.client.to.get); len(text) > most {
		text = encode(s.request.wire(Stream, FIFO))
	}
	return text
}

// look finds portals that are not known yet.
func (s *stream) look(ctx context.Context) error {
	if time.Since(s.looked) < s.request.Every {
		return nil
	}
	s.looked = time.Now()
	if l := s.client.Limits(); l.Announced && len(s.request.Portals) > l.PortalsCountMax {
		s.request.Portals = nil // some are gone
	}
	known := make([]string, len(s.request.Portals))
	for i, p := range s.request.Portals {
		known[i] = p.ID
	}
	items, err := s.client.latest(ctx, known)
	for i := range items {
		if id := items[i].PortalID; !slices.Contains(known, id) {
			s.request.Portals = append(s.request.Portals, Portal{ID: id})
		}
	}
	return err
}

// once makes one request and passes its items on. some tells whether there were some.
func (s *stream) once(ctx context.Context, yield func([]Item, error) bool) (some bool, err error) {
	c := s.client
	if s.unsure {
		if _, err := c.loggedIn(ctx, s.session); err != nil {
			return false, err
		}
		s.unsure = false
	}
	if s.request.All {
		if err := s.look(ctx); err != nil || len(s.request.Portals) == 0 {
			return false, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.call(ctx, c.to.get, s.body, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		_, err := c.readAnswer(ctx, resp, c.to.get)
		return err
	})
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	patience := c.Limits().GetItemTimeout + answerTimeout
	late := time.AfterFunc(patience, func() { cancel(errLate) })
	defer late.Stop()
	if s.reader == nil {
		s.reader = bufio.NewReaderSize(nil, RequestSizeMax)
	}
	s.reader.Reset(resp.Body)
	for {
		line, err := s.line()
		if err == io.EOF && len(line) == 0 { //nolint:errorlint // readers return it bare
			return some, nil
		}
		if err != nil && err != io.EOF { //nolint:errorlint // the same
			return some, fmt.Errorf("read the answer of %s: %w", show(c.to.get), c.reason(ctx, err))
		}
		if err := s.answer.Decode(line); err != nil {
			return some, fmt.Errorf("the answer of %s is not of the portal API: %w", show(c.to.get), err)
		}
		if f := s.answer.Failure; f != nil {
			return some, c.newError(resp, c.to.get, f)
		}
		if items := s.fresh(); len(items) > 0 {
			some = true
			late.Stop() // the caller may take as long as it likes
			if !yield(items, nil) {
				return some, errBroken
			}
			late.Reset(patience)
		}
	}
}

// fresh returns the items of the answer that the caller does not have, and notes that he has them.
func (s *stream) fresh() []Item {
	lifo := s.request.Schedule == LIFO
	items := itemsOf(&s.answer, lifo)
	kept := slices.DeleteFunc(items, func(it Item) bool { return s.had(&it, lifo) })
	for i := range kept {
		if lifo {
			i = len(kept) - 1 - i
		}
		s.cursor.Add(&kept[i])
	}
	return kept
}

// had reports whether the caller has the item already.
func (s *stream) had(it *Item, lifo bool) bool {
	if m := s.cursor.portals[it.PortalID]; m != nil && m.Life > 0 && it.Place.Life > 0 {
		return m.Life == it.Place.Life && it.Place.Number <= m.Number
	}
	if len(s.taken.portals) > 0 && s.taken.taken(it) {
		return true
	}
	if m := s.taken.portals[it.PortalID]; m != nil && !lifo && it.Time.UnixMilli() > m.Time {
		s.taken.forget(it.PortalID) // the session itself is behind it now, whatever the clock does
	}
	return false
}

// line reads a line, of any length up to maxAnswer. It is valid until the next call.
func (s *stream) line() ([]byte, error) {
	line, err := s.reader.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	s.long = append(s.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(s.long) > maxAnswer {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxAnswer)
		}
		line, err = s.reader.ReadSlice('\n')
		s.long = append(s.long, line...)
	}
	return s.long, err
}
