package server

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

var sets = sync.Pool{New: func() any { return new(wire.Set) }}

func (s *Server) serveSet(w http.ResponseWriter, r *http.Request, sess *session) error {
	body, free, err := readBody(w, r, s.limits.PayloadSizeMax)
	if err != nil {
		return err
	}
	defer free()
	set := sets.Get().(*wire.Set)
	defer sets.Put(set)
	if err := set.Decode(body); err != nil {
		return mistake(err)
	}
	timestamp, err := sess.account.set(set.Items)
	if err != nil {
		return err
	}
	sess.touch()
	var space [64]byte
	answer(w, http.StatusOK, wire.AppendTimestamp(space[:0], timestamp))
	return nil
}

func (s *Server) serveGet(w http.ResponseWriter, r *http.Request, sess *session) error {
	g := get{server: s, session: sess, to: w, gone: r.Context().Done(), until: time.Now().Add(s.limits.GetItemTimeout)}
	body, free, err := readBody(w, r, min(mostPayload, wire.GetSizeMax(s.limits.PayloadSizeMax, s.limits.PortalsCountMax)))
	if err != nil {
		return err
	}
	err = g.Decode(body)
	free()
	if err != nil {
		return mistake(err)
	}
	defer s.sessions.shrink(sess.account)
	g.tells = strings.Contains(r.Header.Get(wire.PreferHeader), wire.PreferPlaces)
	defer sess.touch()
	switch {
	case len(g.Portals) == 0:
		if err := sess.account.take(mostPayload); err != nil {
			return err
		}
		defer sess.account.giveBack(mostPayload)
		answer(w, http.StatusOK, wire.AppendAnswer(nil, sess.account.latest(g.Except), nil))
		return nil
	case g.Mode == "probe":
		_, err := g.answer()
		return err
	case g.Mode == "watch":
		return g.watch()
	default:
		return g.stream()
	}
}

// get is a get request at work.
type get struct {
	wire.Get
	server  *Server
	session *session
	to      http.ResponseWriter
	gone    <-chan struct{}
	tells   bool // the client wants to know the places of items
	until   time.Time
	timeout <-chan time.Time
	over    bool // the time is
}

// claim appends what is new to dst, as an answer; nothing if there is nothing and the mode is not
// probe. The account is charged with size until giveBack.
func (g *get) claim(dst []byte) (text []byte, size int, err error) {
	items, places, size, err := g.session.account.claim(g.session, &g.Get)
	if err != nil || len(items) == 0 && g.Mode != "probe" {
		return dst, 0, err
	}
	if !g.tells {
		places = nil
	}
	return wire.AppendAnswer(dst, items, places), size, nil
}

// answer answers with what is new, if there is something or the mode is probe.
func (g *get) answer() (answered bool, err error) {
	text, size, err := g.claim(nil)
	if err != nil || len(text) == 0 {
		return false, err
	}
	defer g.session.account.giveBack(size)
	answer(g.to, http.StatusOK, text)
	return true, nil
}

// begin registers for what comes, and starts the time-out.
func (g *get) begin() (w *waiter, end func(), err error) {
	a, size := g.session.account, len(g.Portals)*waitingSize
	if err := a.take(size); err != nil {
		return nil, nil, err
	}
	w, leave := a.wait(g.Portals)
	timer := time.NewTimer(time.Until(g.until))
	g.timeout = timer.C
	return w, func() { timer.Stop(); leave(); a.giveBack(size) }, nil
}

// wait returns true when something may have come, and false when the time is over.
func (g *get) wait(w *waiter) (bool, error) {
	if g.over {
		return false, nil
	}
	select {
	case <-g.gone: // it must not claim anything any more
		return false, errGone
	default:
	}
	select {
	case <-w.signal:
		return true, nil
	case <-g.timeout:
		return false, nil
	case <-g.server.done:
		return false, nil
	case <-g.gone:
		return false, errGone
	}
}

// watch answers with the first items that come.
func (g *get) watch() error {
	w, end, err := g.begin()
	if err != nil {
		return err
	}
	defer end()
	for {
		if answered, err := g.answer(); answered || err != nil {
			return err
		}
		more, err := g.wait(w)
		switch {
		case err != nil:
			return err
		case !more:
			answer(g.to, http.StatusOK, wire.AppendAnswer(nil, nil, nil))
			return nil
		}
	}
}

var lines = sync.Pool{New: func() any { return new([]byte) }}

// stream answers with a line for each lot of items. It flushes when nothing more is waiting.
func (g *get) stream() error {
	w, end, err := g.begin()
	if err != nil {
		return err
	}
	defer end()
	g.to.Header()["Content-Type"] = jsonType
	g.to.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(g.to)
	if err := flusher.Flush(); err != nil {
		return errGone
	}
	for some := false; ; {
		sent, err := g.sendAll(flusher)
		if err != nil {
			return err
		}
		some = some || sent
		more, err := g.wait(w)
		switch {
		case err != nil:
			return err
		case more:
			continue
		case !some:
			_, err = g.to.Write(append(wire.AppendAnswer(nil, nil, nil), '\n'))
		}
		if err != nil {
			return errGone
		}
		return nil
	}
}

// sendAll writes lines until nothing is waiting, and then flushes. When the account has no memory
// for a line, the time is over.
func (g *get) sendAll(flusher *http.ResponseController) (sent bool, err error) {
	line := lines.Get().(*[]byte)
	defer lines.Put(line)
	for !g.over {
		text, size, err := g.claim((*line)[:0])
		if *line = text; err != nil {
			g.over = true // what is new stays for the next stream
			break
		}
		if len(text) == 0 {
			break
		}
		*line = append(text, '\n')
		_, err = g.to.Write(*line)
		g.session.account.giveBack(size)
		if err != nil {
			return sent, errGone
		}
		sent = true
		select {
		case <-g.timeout:
			g.over = true // steady traffic must not keep a stream beyond its time
		case <-g.gone:
			return sent, errGone
		default:
		}
	}
	if !sent {
		return false, nil
	}
	if err := flusher.Flush(); err != nil {
		return sent, errGone
	}
	return sent, nil
}
