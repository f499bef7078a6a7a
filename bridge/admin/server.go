package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// Limits of what a client may take. A handler that answers for longer moves its own deadlines, by
// [http.ResponseController].
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = time.Minute
	mostHeader    = 16 << 10
	mostBody      = 1 << 20
	mostStrange   = 4096 // of who may ask nothing but to be let in
	mostConns     = 512  // at each listener; then the oldest of those who may ask nothing goes
	closeTimeout  = time.Second
)

// Options are what a Server answers about.
type Options struct {
	Bridge   *engine.Bridge
	Monitor  *monitor.Monitor
	Version  string
	Stopping <-chan struct{} // closed when the bridge is to stop
	Logger   *slog.Logger    // nil discards
}

// Server answers about a bridge that runs. All methods may be called from any goroutine.
type Server struct {
	Options
	started    time.Time
	mux, local *http.ServeMux
	ctx        context.Context //nolint:containedctx // of all requests
	end        context.CancelFunc
	serving    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	config  monitor.Config
	servers []*http.Server
	open    map[string]bool // whether that is so of each pattern
	url     string          // for browsers; empty: none

	codes, sessions passes
}

// New returns a Server that does not listen yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: o, started: time.Now(), mux: http.NewServeMux(), local: http.NewServeMux()}
	s.codes, s.sessions = passes{most: mostCodes, life: codeLife}, passes{most: mostGuests, life: sessionLife}
	s.open = make(map[string]bool)
	s.ctx, s.end = context.WithCancel(context.Background())
	s.local.Handle("/", s.mux)
	s.routes()
	return s
}

// Handle adds a handler, with a pattern of [http.ServeMux], which has a method: what changes
// anything is a POST. Who may not see or do everything does not get to it. The context of a request
// ends with the server, too.
func (s *Server) Handle(pattern string, h http.Handler) { s.handle(pattern, h, false) }

// HandleOpen is Handle for what anybody who reaches the server may ask, without a token; [Trusted]
// tells those who have one.
func (s *Server) HandleOpen(pattern string, h http.Handler) { s.handle(pattern, h, true) }

func (s *Server) handle(pattern string, h http.Handler, open bool) {
	s.mu.Lock()
	s.open[pattern] = open
	s.mu.Unlock()
	s.mux.Handle(pattern, h)
}

func (s *Server) isOpen(pattern string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[pattern]
}

// Offers reports whether there is a handler for such a request.
func (s *Server) Offers(method, path string) bool {
	_, pattern := s.mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}, Host: "localhost"})
	return pattern != ""
}

// HandleLocal is Handle for what is to be had at the socket only.
func (s *Server) HandleLocal(pattern string, h http.Handler) { s.local.Handle(pattern, h) }

// Listen makes the server answer at a socket, at the first of the places where that can be made,
// and returns that place.
func (s *Server) Listen(ctx context.Context, places ...Place) (Place, error) {
	l, err := listen(ctx, places)
	if err != nil {
		return Place{}, err
	}
	s.serve(l, withTrust(s.local), nil)
	return l.place, nil
}

// serve answers at a listener until Close, with HTTP/1.1: where a connection has many requests at a
// time, to bound connections bounds nothing.
func (s *Server) serve(l net.Listener, h http.Handler, secure *tls.Config) {
	server := &http.Server{
		Handler:           http.MaxBytesHandler(h, mostBody),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: mostHeader, TLSConfig: secure,
		BaseContext: func(net.Listener) context.Context { return s.ctx }, ConnContext: withConnection,
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		serve := server.Serve
		if secure != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(newLimited(l, mostConns)); !errors.Is(err, http.ErrServerClosed) {
			s.Logger.Error("the bridge does not answer any more", "at", l.Addr().String(), "err", err)
		}
		_ = l.Close()
	})
}

// Close ends all listeners and requests.
func (s *Server) Close() {
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.mu.Lock()
	servers := slices.Clone(s.servers)
	s.mu.Unlock()
	for _, server := range servers {
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}
	s.serving.Wait()
}

// SetConfig says which configuration runs.
func (s *Server) SetConfig(c monitor.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
}

// Config returns what SetConfig said last.
func (s *Server) Config() monitor.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// Status returns what GET /status answers.
func (s *Server) Status() monitor.Status {
	st := monitor.Status{
		Version: s.Version, PID: os.Getpid(), Started: s.started, Now: time.Now(),
		Config: s.Config(), Pipelines: s.Monitor.Pipelines(s.Bridge),
	}
	select {
	case <-s.Stopping:
		st.Draining = true
	default:
	}
	st.Judge()
	return st
}

// Answer writes v as JSON.
func Answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // who asked has gone
}

// failed is what is answered where something goes wrong.
type failed struct {
	Error string `json:"error"`
}

// Fail answers an error.
func Fail(w http.ResponseWriter, code int, err error) { Answer(w, code, failed{err.Error()}) }
