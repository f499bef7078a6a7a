package server

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

var sets = sync.Pool{New: func() any { return new(wire.Set) }}

func (s *Server) serveSet(w http.ResponseWriter, r *http.Request, sess *session) error {
	body, free, err := s.readBody(w, r, s.limits.PayloadSizeMax)
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
	body, free, err := s.readBody(w, r, s.limits.PayloadSizeMax)
	if err != nil {
		return err
	}
	err = g.Decode(body)
	free()
	if err != nil {
		return mistake(err)
	}
	g.tells = slices.ContainsFunc(r.Header[wire.PreferHeader], func(p string) bool { return strings.Contains(p, wire.PreferMissed) })
	defer sess.touch()
	switch {
	case len(g.Portals) == 0:
		answer(w, http.StatusOK, wire.AppendAnswer(nil, sess.account.latest(), 0))
		return nil
	case g.Mode == "probe":
		answer(w, http.StatusOK, g.claim(nil))
		return nil
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
	tells   bool  // missed items are told
	missed  int64 // that have not been told yet
	until   time.Time
	timeout <-chan time.Time
	over    bool // the time is
}

// claim appends what is new to dst, as an answer.
func (g *get) claim(dst []byte) []byte {
	items, missed := g.session.account.claim(g.session, &g.Get, g.tells)
	if g.tells {
		g.missed += missed
	}
	if len(items) == 0 && g.Mode != "probe" {
		return dst // what was missed is told with the next items
	}
	told := g.missed
	if len(items) == 1 && len(items[0])+wire.AnswerOverhead+wire.MissedSize >= mostPayload {
		told = 0 // a line must not get longer than clients can read; the next one tells it
	}
	g.missed -= told
	return wire.AppendAnswer(dst, items, told)
}

// begin registers for what comes, and starts the time-out.
func (g *get) begin() (w *waiter, end func()) {
	w, leave := g.session.account.wait(g.Portals)
	timer := time.NewTimer(time.Until(g.until))
	g.timeout = timer.C
	return w, func() { timer.Stop(); leave() }
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
	w, end := g.begin()
	defer end()
	for {
		if text := g.claim(nil); len(text) > 0 {
			answer(g.to, http.StatusOK, text)
			return nil
		}
		more, err := g.wait(w)
		switch {
		case err != nil:
			return err
		case !more:
			answer(g.to, http.StatusOK, wire.AppendAnswer(nil, nil, g.missed))
			return nil
		}
	}
}

var lines = sync.Pool{New: func() any { return new([]byte) }}

// stream answers with a line for each lot of items. It flushes when nothing more is waiting.
func (g *get) stream() error {
	w, end := g.begin()
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
			_, err = g.to.Write(append(wire.AppendAnswer(nil, nil, g.missed), '\n'))
		}
		if err != nil {
			return errGone
		}
		return nil
	}
}

// sendAll writes lines until nothing is waiting, and then flushes.
func (g *get) sendAll(flusher *http.ResponseController) (sent bool, err error) {
	line := lines.Get().(*[]byte)
	defer lines.Put(line)
	for {
		*line = g.claim((*line)[:0])
		if len(*line) == 0 {
			break
		}
		*line = append(*line, '\n')
		if _, err := g.to.Write(*line); err != nil {
			return sent, errGone
		}
		sent = true
		select {
		case <-g.timeout:
			g.over = true // steady traffic must not keep a stream beyond its time
			return sent, nil
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
