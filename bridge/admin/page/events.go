package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	maxReaders   = 32               // of /events at a time: each costs a connection and a copy of the status a second
	interval     = time.Second      // between two events
	writeTimeout = 10 * time.Second // for an event: a reader that takes longer is dropped
)

// serveEvents sends the status as server-sent events, one a second, until the reader goes, is too
// slow, or the page is closed.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d readers have /events open, which is the most there can be; "+
			"close one of the pages, or read /status",
			maxReaders), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // by a proxy in front
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // that of the server is for the request, and would end this
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		event, err := p.nextEvent()
		if err != nil {
			return // a status is always JSON
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // not supported means without
		if _, err := w.Write(event); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-p.closed:
			return
		}
	}
}

// nextEvent returns an event that is not older than half an interval, so that many readers cost no
// more statuses than one or two.
func (p *Page) nextEvent() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.event == nil || now.Sub(p.madeAt) > interval/2 {
		status, err := json.Marshal(p.config.Status())
		if err != nil {
			return nil, fmt.Errorf("marshal the status: %w", err)
		}
		p.event, p.madeAt = fmt.Appendf(nil, "data: %s\n\n", status), now
	}
	return p.event, nil
}
