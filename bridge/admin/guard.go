package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long a link lets a browser in, and how many links and browsers there are at a time.
const (
	codeLife    = time.Minute
	sessionLife = 12 * time.Hour
	mostCodes   = 16
	mostGuests  = 100
)

// ListenTCP makes the server answer at an address, to who has the token, and returns its URL. The
// settings must be valid and have a token.
func (s *Server) ListenTCP(ctx context.Context, set Settings) (string, error) {
	if err := checkToken(set.Token.Reveal()); err != nil { // that of a file, too
		return "", fmt.Errorf("use the token for HTTP: %w", err)
	}
	secure, err := set.TLS.Config(s.Logger)
	if err != nil {
		return "", fmt.Errorf("read admin.tls: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", set.Listen)
	if err != nil {
		return "", fmt.Errorf("listen at %s: %w: stop what has it, or choose another address for admin.listen",
			set.Listen, err)
	}
	host, _, _ := net.SplitHostPort(set.Listen)
	u := url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/"}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() { // a name, or all addresses
		_, port, _ := net.SplitHostPort(u.Host)
		if ip != nil || host == "" {
			host = "localhost"
		}
		u.Host = net.JoinHostPort(host, port)
	}
	if secure != nil {
		u.Scheme, secure.MinVersion = "https", tls.VersionTLS13
	}
	s.mu.Lock()
	s.url = u.String()
	s.mu.Unlock()
	g := &guard{
		server: s, token: sha256.Sum256([]byte(set.Token.Reveal())), where: set.where(), tls: secure,
		hosts: slices.Concat(set.Hosts, []string{host, "localhost", "127.0.0.1", "::1"}),
	}
	s.serve(l, g, secure)
	return u.String(), nil
}

// guard lets in who may ask over the network. Before all else it asks for the name by which the
// server is called: a page of another site can reach loopback under a name of its own (DNS
// rebinding), but not under one of these.
type guard struct {
	server *Server
	token  [sha256.Size]byte
	where  string // the token is
	tls    *tls.Config
	hosts  []string
	cross  http.CrossOriginProtection
}

// trusted is the key of contexts of requests that may see everything.
type trusted struct{}

// Trusted reports whether the one who asks may see and do everything: at the socket, or with a
// token. It is for handlers that HandleOpen has added.
func Trusted(r *http.Request) bool { return r.Context().Value(trusted{}) != nil }

func withTrust(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trustConnection(r.Context())
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), trusted{}, true)))
	})
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	may := g.server.may(g.token, r.Header.Get("Authorization"))
	if !may {
		h.Set("Connection", "close") // who is not let in holds nothing
		r.Body = http.MaxBytesReader(w, r.Body, mostStrange)
	}
	_, pattern := g.server.mux.Handler(r)
	switch {
	case !g.calledRight(r):
		Fail(w, http.StatusForbidden,
			fmt.Errorf("this server is not called %q: admin.hosts names what it is called", hostname(r.Host)))
	case g.cross.Check(r) != nil || strings.EqualFold(r.Header.Get("Sec-Fetch-Mode"), "no-cors"):
		Fail(w, http.StatusForbidden, errors.New("pages of other sites may not ask this server"))
	case !may && !g.server.isOpen(pattern):
		h.Set("WWW-Authenticate", "Bearer")
		Fail(w, http.StatusUnauthorized, errors.New("a token is needed, as in Authorization: Bearer TOKEN: it is "+g.where))
	case !isJSON(r):
		Fail(w, http.StatusUnsupportedMediaType, errors.New("the body must be JSON, with Content-Type: application/json"))
	case may:
		withTrust(g.server.mux).ServeHTTP(w, r)
	default:
		g.server.mux.ServeHTTP(w, r)
	}
}

// hostname returns the name of a host without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// calledRight reports whether a request is for a name of this server, or for the very address that
// it has reached.
func (g *guard) calledRight(r *http.Request) bool {
	name := strings.TrimSuffix(hostname(r.Host), ".")
	if name == "" {
		return false
	}
	if slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && net.ParseIP(name) != nil &&
		hostname(at.String()) == name {
		return true
	}
	if g.tls == nil {
		return false
	}
	c, err := g.tls.GetCertificate(nil)
	return err == nil && c.Leaf != nil && c.Leaf.VerifyHostname(name) == nil
}

// isJSON reports whether a request that may change something has no body, or JSON.
func isJSON(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.ContentLength == 0 {
		return true
	}
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && typ == "application/json"
}

// may reports whether a request with such an Authorization comes from who has the token, or whom a
// link has let in. It takes as long whatever is wrong with it.
func (s *Server) may(token [sha256.Size]byte, authorization string) bool {
	kind, given, _ := strings.Cut(authorization, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
	right := subtle.ConstantTimeCompare(sum[:], token[:])
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if s.sessions.has(sum) { // of a hash, whose bytes nobody can choose
		right = 1
	}
	return right == 1 && given != "" && strings.EqualFold(kind, "Bearer")
}

// passes are secrets that hold for a while, known by their hashes.
type passes struct {
	mu   sync.Mutex // guards what follows
	most int
	life time.Duration
	ends map[[sha256.Size]byte]time.Time
}

// add makes one. If there are too many, the one that ends first goes.
func (p *passes) add() string {
	text := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = make(map[[sha256.Size]byte]time.Time)
	}
	for len(p.ends) >= p.most {
		var first [sha256.Size]byte
		for sum, end := range p.ends {
			if other, any := p.ends[first]; !any || end.Before(other) {
				first = sum
			}
		}
		delete(p.ends, first)
	}
	p.ends[sha256.Sum256([]byte(text))] = time.Now().Add(p.life)
	return text
}

// has reports whether one holds. The lock must be held.
func (p *passes) has(sum [sha256.Size]byte) bool {
	end, known := p.ends[sum]
	return known && time.Now().Before(end)
}

// take is has for one that holds only once.
func (p *passes) take(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := sha256.Sum256([]byte(text))
	holds := p.has(sum)
	delete(p.ends, sum)
	return holds
}

// link answers the address of the page, with a code that lets a browser in once. The code is in the
// fragment, which browsers send to nobody.
func (s *Server) link(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	at := s.url
	s.mu.Unlock()
	if at == "" {
		Fail(w, http.StatusNotFound,
			errors.New("the bridge has no address for browsers: write admin: {listen: 127.0.0.1:8321} into its file"))
		return
	}
	Answer(w, http.StatusOK, map[string]string{"url": at + "#code=" + s.codes.add()})
}

// waits answers 204 while nobody has followed the link with a code, and 404 from then on.
func (s *Server) waits(w http.ResponseWriter, r *http.Request) {
	s.codes.mu.Lock()
	defer s.codes.mu.Unlock()
	if s.codes.has(sha256.Sum256([]byte(r.PathValue("code")))) {
		w.WriteHeader(http.StatusNoContent)
	} else {
		Fail(w, http.StatusNotFound, errors.New("the link was used, or is older than a minute"))
	}
}

// enter answers a token to who has a code, which does not hold any more then.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Code string }
	err := json.NewDecoder(r.Body).Decode(&asked)
	switch {
	case err != nil:
		Fail(w, http.StatusBadRequest, fmt.Errorf("read the code: %w", err))
	case !s.codes.take(asked.Code):
		Fail(w, http.StatusForbidden,
			errors.New("the link was used, or is older than a minute: xrtcbridge dashboard prints a new one"))
	default:
		Answer(w, http.StatusOK, map[string]string{"token": s.sessions.add()})
	}
}
