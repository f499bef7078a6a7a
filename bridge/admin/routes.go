package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin/page"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

func (s *Server) routes() {
	s.HandleOpen("GET /livez",
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }))
	s.HandleOpen("GET /readyz", http.HandlerFunc(s.ready))
	s.HandleOpen("POST /login", http.HandlerFunc(s.enter))
	s.local.HandleFunc("POST /links", s.link)
	s.local.HandleFunc("GET /links/{code}", s.waits)
	p := page.New(page.Config{Status: s.Status, Trusted: Trusted, Offers: s.Offers})
	s.HandleOpen("GET /{$}", p)
	s.HandleOpen("GET /page/", p)
	s.Handle("GET /events", p)
	s.Handle("GET /status", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Answer(w, http.StatusOK, s.Status())
	}))
	s.Handle("GET /tap", tap(s.Monitor))
	for action, do := range map[string]func(ctx context.Context, pipeline string) error{
		"pause":   s.Bridge.Pause,
		"resume":  func(_ context.Context, pipeline string) error { return s.Bridge.Resume(pipeline) },
		"restart": s.Bridge.Restart,
	} {
		s.Handle("POST /pipelines/{name}/"+action,
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.steer(w, r, do) }))
	}
}

// ready says why the bridge is not ready only to those who may know.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	st := s.Status()
	if st.Ready {
		_, _ = io.WriteString(w, "ready\n")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	if !Trusted(r) {
		st.Reasons = []string{"the reasons are for those who have the token"}
	}
	_, _ = io.WriteString(w, "not ready\n"+strings.Join(st.Reasons, "\n")+"\n")
}

// steered is what is answered to who has steered a pipeline.
type steered struct {
	Pipeline string `json:"pipeline"`
	Warning  string `json:"warning,omitempty"` // what went wrong on the way, so that messages come again
}

// steer does something to a pipeline. Who asks may go meanwhile: how long a pipeline takes to stop
// is bounded by its drain timeout.
func (s *Server) steer(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, pipeline string) error) {
	name := r.PathValue("name")
	var known []string
	for _, one := range s.Bridge.Situations() {
		known = append(known, one.Pipeline.Name)
	}
	if !slices.Contains(known, name) {
		Fail(w, http.StatusNotFound, &monitor.UnknownError{What: "pipeline", Name: name, Known: known})
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Time{}) // the socket takes it
	err := do(context.WithoutCancel(r.Context()), name)
	switch {
	case err == nil:
		Answer(w, http.StatusOK, steered{Pipeline: name})
	case errors.As(err, new(engine.RefusedError)):
		Fail(w, http.StatusConflict, err)
	default: // how its run has ended
		Answer(w, http.StatusOK, steered{name, err.Error()})
	}
}
