// Package page is what a browser shows of a running bridge: one document, without a build step and
// without anything from elsewhere.
//
// The document reads the JSON that everybody reads. GET /events, which is here, pushes the status
// once a second; all else is asked of the server that the page is mounted in, with the page's bearer
// token if it has one: /metrics (latency), /tap, /dead, /reload and /pipelines/NAME/ACTION. What the
// server does not have, the page does not show.
//
// # Security
//
// The document and its files hold nothing secret unless [Config.Trusted] says so, and can be served
// to anybody; /events must stand behind the server's authentication. The content security policy
// allows no script, style, frame or request that is not the server's own, and no text to become
// markup (trusted types). Nothing here changes state.
package page

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// policy is the content security policy. Plots set their styles by script, which it does not hinder.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed static
var static embed.FS

var types = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	".LICENSE": "text/plain; charset=utf-8",
}

//go:embed page.html
var document string

// Config is what a page is made of.
type Config struct {
	// Status says what the bridge does. It is called about once a second while somebody looks, and
	// may be called by several goroutines.
	Status func() monitor.Status

	// Trusted says whether a request for the document may see the status, which is in it for
	// browsers without script. The default is that all may, as where the server has refused others.
	Trusted func(*http.Request) bool

	// Offers says whether the server answers such a request. The default is that it answers all.
	Offers func(method, path string) bool
}

// Page is an [http.Handler] for /, /page/ and /events.
type Page struct {
	config   Config
	mux      *http.ServeMux
	document *template.Template
	closed   chan struct{}
	close    sync.Once
	slots    chan struct{} // one for each reader of /events

	mu     sync.Mutex // guards what follows
	event  []byte     // the last one
	madeAt time.Time
}

// New returns a page.
func New(c Config) *Page {
	if c.Trusted == nil {
		c.Trusted = func(*http.Request) bool { return true }
	}
	if c.Offers == nil {
		c.Offers = func(string, string) bool { return true }
	}
	p := &Page{
		config: c, mux: http.NewServeMux(), closed: make(chan struct{}), slots: make(chan struct{}, maxReaders),
		document: template.Must(
			template.New("page").Funcs(template.FuncMap{"sign": sign, "age": age, "rate": rate}).Parse(document)),
	}
	p.mux.HandleFunc("GET /{$}", p.serveDocument)
	p.mux.HandleFunc("GET /page/{file}", func(w http.ResponseWriter, r *http.Request) {
		// What the system says of types may be anything, and browsers go by it.
		if typ := types[path.Ext(r.PathValue("file"))]; typ != "" {
			w.Header().Set("Content-Type", typ)
		}
		w.Header().Set("Cache-Control", "no-cache") // a newer bridge may have a newer one
		http.ServeFileFS(w, r, static, "static/"+r.PathValue("file"))
	})
	p.mux.HandleFunc("GET /events", p.serveEvents)
	return p
}

// ServeHTTP implements [http.Handler].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	p.mux.ServeHTTP(w, r)
}

// Close ends all /events, which [http.Server.Shutdown] would wait for.
func (p *Page) Close() { p.close.Do(func() { close(p.closed) }) }

// offers are the requests behind what the page shows only where the server has it.
func (p *Page) offers() string {
	var has []byte
	for _, o := range []struct{ name, method, path string }{
		{"metrics", "GET", "/metrics"},
		{"tap", "GET", "/tap"},
		{"dead", "GET", "/dead"},
		{"replay", "POST", "/dead/replay"},
		{"reload", "POST", "/reload"},
		{"pipelines", "POST", "/pipelines/x/pause"},
	} {
		if p.config.Offers(o.method, o.path) {
			has = append(append(has, o.name...), ' ')
		}
	}
	return string(has)
}

func (p *Page) serveDocument(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Offers string
		Status *monitor.Status
	}{Offers: p.offers()}
	if p.config.Trusted(r) {
		s := p.config.Status()
		data.Status = &s
	}
	var b bytes.Buffer // so that a failure is a clean 500
	if err := p.document.Execute(&b, data); err != nil {
		http.Error(w, "write the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}

// sign tells states apart where colours do not.
func sign(s monitor.State) string {
	switch s {
	case monitor.Starting:
		return "○"
	case monitor.Running:
		return "●"
	case monitor.Degraded:
		return "▲"
	case monitor.Waiting:
		return "↻"
	case monitor.Failed:
		return "✕"
	case monitor.Paused:
		return "‖"
	case monitor.Draining:
		return "▽"
	case monitor.Finished:
		return "✓"
	}
	return "?"
}

// age is how long ago t was.
func age(now time.Time, t *time.Time) string {
	if t == nil {
		return "–"
	}
	return max(0, now.Sub(*t)).Round(time.Second).String()
}

func rate(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) + "/s" }
