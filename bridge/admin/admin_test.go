package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

const token = "a token that nobody guesses"

// silent is a source that never has anything.
type silent struct{}

func (silent) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func (silent) Close() error { return nil }

// served is a bridge that runs, and answers at a socket and over TCP.
type served struct {
	*admin.Server
	bridge *engine.Bridge
	client *admin.Client
	url    string
	stop   func()
}

// serve runs a bridge with a pipeline "well" and one that cannot open its sink, "ill".
func serve(t *testing.T, set admin.Settings) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	b := &engine.Bridge{}
	m := monitor.New()
	for name, why := range map[string]error{"well": nil, "ill": errors.New("no route")} {
		p := &engine.Pipeline{
			Name: name, DrainTimeout: time.Millisecond,
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "silent",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) { return silent{}, nil },
			}},
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "hole",
				Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return bridgetest.Nowhere{}, why },
			}),
		}
		m.Watch(p)
		b.Pipelines = append(b.Pipelines, p)
	}
	s := &served{
		Server: admin.New(admin.Options{Bridge: b, Monitor: m, Version: "v1", Stopping: ctx.Done()}),
		bridge: b, stop: stop,
	}
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	place := admin.InState(owned.Place{Path: filepath.Join(t.TempDir(), "state")})
	at, err := s.Listen(t.Context(), place)
	if err == nil && at != place {
		t.Errorf("it listens at %s", at)
	}
	if err == nil {
		s.client, err = admin.Dial(t.Context(), place)
	}
	if err == nil && set.Listen != "" {
		if err = set.Validate(); err == nil {
			s.url, err = s.ListenTCP(t.Context(), set)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
		s.client.Close()
		s.Close()
	})
	bridgetest.Eventually(t, "one pipeline runs, and the other one has tried to", func() bool {
		right := 0
		for _, p := range s.Status().Pipelines {
			if p.Name == "well" && p.State == monitor.Running || p.Name == "ill" && strings.Contains(p.Reason, "no route") {
				right++
			}
		}
		return right == 2
	})
	return s
}

func loopback() admin.Settings {
	return admin.Settings{Listen: "127.0.0.1:0", Token: bridge.NewSecret(token)}
}

// ask sends a request over TCP, with headers that are pairs, and returns the code and what is said.
func (s *served) ask(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.url, "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "", "Set-Cookie": "",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s %s: %s is %q", method, path, name, got)
		}
	}
	if strings.HasSuffix(path, "/events") {
		return answer.StatusCode, ""
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

var bearer = []string{"Authorization", "Bearer " + token}

// S7: another address than loopback needs a token and TLS.
func TestS7Settings(t *testing.T) {
	secret, cert := bridge.NewSecret(token), &bridge.Certificate{Cert: "c", Key: "k"}
	for _, c := range []struct {
		set  admin.Settings
		want string
	}{
		{admin.Settings{Listen: "127.0.0.1:8321"}, ""},
		{admin.Settings{Listen: "localhost:8321"}, ""},
		{admin.Settings{Listen: "[::1]:8321", Token: secret}, ""},
		{admin.Settings{Listen: ":8321", Token: secret, TLS: cert}, ""},
		{admin.Settings{Listen: ":8321"}, "can be reached from other machines"},
		{admin.Settings{Listen: "0.0.0.0:8321", Token: secret}, "can be reached from other machines"},
		{admin.Settings{Listen: "10.0.0.1:8321", TLS: cert}, "can be reached from other machines"},
		{admin.Settings{Listen: "localhost.example:8321", TLS: cert}, "can be reached from other machines"},
		{
			admin.Settings{Listen: "[::1]:1", Token: bridge.NewSecret("fifteen letters")},
			"token: it has less than 16 characters",
		},
		{admin.Settings{Listen: "8321"}, "is not an address"},
		{admin.Settings{Listen: "127.0.0.1:http"}, "is not an address"},
		{admin.Settings{Listen: "127.0.0.1:1", Hosts: []string{"https://bridge"}}, "is not a name"},
		{admin.Settings{Listen: "127.0.0.1:1", Hosts: []string{"bridge:80"}}, "is not a name"},
	} {
		if err := c.set.Validate(); c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.set.Listen, err, c.want)
		}
	}
}

// S8: each route wants the token, but for those that are open.
func TestS8EveryRouteWantsTheToken(t *testing.T) {
	s := serve(t, loopback())
	s.Handle("POST /added/{name}",
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { admin.Answer(w, 200, "done") }))
	all, open := s.Patterns()
	wantOpen := map[string]bool{
		"GET /livez": true, "GET /readyz": true, "GET /{$}": true, "GET /page/": true,
		"POST /login": true,
	}
	for _, pattern := range all {
		if open[pattern] != wantOpen[pattern] {
			t.Errorf("%s: open %t", pattern, open[pattern])
		}
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{$}", "", "{name}", "nobody").Replace(path)
		for _, a := range []string{
			"", "Bearer", "Bearer ", "Bearer x", token, "Basic " + token, "Bearer " + token[1:], "Bearer " + token + "x",
			"Bearer " + strings.ToUpper(token),
		} {
			code, text := s.ask(t, method, path, "", "Authorization", a)
			if (code == http.StatusUnauthorized) == open[pattern] {
				t.Errorf("%s with %q: %d", pattern, a, code)
			}
			if strings.Contains(text, "no route") || strings.Contains(text, "ill") &&
				!strings.HasPrefix(path, "/page") && path != "/" {
				t.Errorf("%s says to everybody: %s", pattern, text)
			}
		}
		if code, _ := s.ask(t, method, path, "", bearer...); code == http.StatusUnauthorized ||
			code == http.StatusForbidden && path != "/login" {
			t.Errorf("%s with the token: %d", pattern, code)
		}
	}
	for _, path := range []string{"/nothing", "/links", "/page/../status"} {
		if code, _ := s.ask(t, "GET", path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := s.ask(t, "POST", "/links", "", bearer...); code != http.StatusNotFound {
		t.Errorf("links over TCP: %d", code)
	}
}

// Who has no token hears where it is: in the settings, or in a file that was made, by its path.
func TestWithoutATokenSaysWhereItIs(t *testing.T) {
	made := loopback()
	made.TokenFile = "/var/lib/bridge/admin.token"
	for set, want := range map[*admin.Settings]string{
		{Listen: made.Listen, Token: made.Token}: "it is the one that admin: {token: …} in the file of the bridge names",
		&made:                                    "it is in the file /var/lib/bridge/admin.token",
	} {
		if code, text := serve(t, *set).ask(t, "GET", "/status", ""); code != http.StatusUnauthorized ||
			!strings.Contains(text, want) {
			t.Errorf("%d %s, want %q", code, text, want)
		}
	}
}

// S9: what comes under another name, or from a page of another site, is refused, on loopback too,
// and with the right token.
func TestS9HostAndOrigin(t *testing.T) {
	set := loopback()
	set.Hosts = []string{"bridge.example"}
	s := serve(t, set)
	port := s.url[strings.LastIndex(s.url, ":")+1 : len(s.url)-1]
	for _, c := range []struct {
		name    string
		method  string
		body    string
		headers []string
		want    int
	}{
		{"as it is", "GET", "", nil, 200},
		{"localhost", "GET", "", []string{"Host", "localhost"}, 200},
		{"name in capitals and a dot", "GET", "", []string{"Host", "LOCALHOST.:" + port}, 200},
		{"IPv6 loopback", "GET", "", []string{"Host", "[::1]:" + port}, 200},
		{"configured name", "GET", "", []string{"Host", "bridge.example:443"}, 200},
		{"rebound name", "GET", "", []string{"Host", "evil.example:" + port}, 403},
		{"name below a configured one", "GET", "", []string{"Host", "x.bridge.example"}, 403},
		{"name that begins as one", "GET", "", []string{"Host", "localhost.evil.example"}, 403},
		{"another address", "GET", "", []string{"Host", "10.1.2.3"}, 403},
		{"no address at all", "GET", "", []string{"Host", "0.0.0.0:" + port}, 403},
		{"two names", "GET", "", []string{"Host", "localhost@evil.example"}, 403},
		{"POST", "POST", "", nil, 404},
		{"POST of its own page", "POST", "{}", []string{
			"Origin", "http://127.0.0.1:" + port, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json",
		}, 404},
		{"POST of another site", "POST", "", []string{"Origin", "http://evil.example"}, 403},
		{"POST of another port", "POST", "", []string{"Origin", "http://127.0.0.1:1"}, 403},
		{"POST of a file", "POST", "", []string{"Origin", "null"}, 403},
		{"POST, as the browser says", "POST", "", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST of a sister site", "POST", "", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"image", "GET", "", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "cross-site"}, 403},
		{"form", "POST", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"text", "POST", "{}", []string{"Content-Type", "text/plain"}, 415},
		{"no type", "POST", "{}", nil, 415},
		{"change by GET", "GET", "", nil, 405},
	} {
		path := "/pipelines/nobody/pause"
		if c.method == "GET" && c.want != 405 {
			path = "/status"
		}
		if code, text := s.ask(t, c.method, path, c.body, append(c.headers, bearer...)...); code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, code, c.want, text)
		}
	}
}

// certified returns the files of a certificate for 127.0.0.1 and example.com, and who trusts it.
func certified(t *testing.T) (*bridge.Certificate, *x509.CertPool) {
	t.Helper()
	other := httptest.NewTLSServer(nil) // has one
	defer other.Close()
	pair := other.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c := &bridge.Certificate{Cert: filepath.Join(t.TempDir(), "cert"), Key: filepath.Join(t.TempDir(), "key")}
	for name, block := range map[string]*pem.Block{
		c.Cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, c.Key: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(other.Certificate())
	return c, roots
}

// Over TLS the names of the certificate are the server's, and old versions are refused.
func TestS11TLS(t *testing.T) {
	certificate, roots := certified(t)
	set := loopback()
	set.TLS = certificate
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer trusting.CloseIdleConnections()
	s := serve(t, set)
	for host, want := range map[string]int{"example.com": 200, "127.0.0.1": 200, "evil.example": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header.Set(bearer[0], bearer[1])
		answer, err := trusting.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, answer.StatusCode, want)
		}
	}
	old := trusting.Transport.(*http.Transport).Clone()
	old.TLSClientConfig.MaxVersion = tls.VersionTLS12
	if answer, err := (&http.Client{Transport: old}).Get(s.url + "livez"); err == nil {
		answer.Body.Close()
		t.Error("TLS 1.2 is taken")
	}
	if answer, err := http.Get("http" + strings.TrimPrefix(s.url, "https") + "livez"); err == nil {
		if answer.Body.Close(); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %d", answer.StatusCode)
		}
	}
	set.TLS = &bridge.Certificate{Cert: "none", Key: "none"}
	if _, err := s.ListenTCP(t.Context(), set); err == nil || !strings.Contains(err.Error(), "read admin.tls") {
		t.Error(err)
	}
}

// A link lets one browser in, once.
func TestLink(t *testing.T) {
	s := serve(t, loopback())
	var link struct{ URL string }
	if err := s.client.Ask(t.Context(), "POST", "/links", nil, &link); err != nil {
		t.Fatal(err)
	}
	code, found := strings.CutPrefix(link.URL, s.url+"#code=")
	if !found || len(code) < 26 {
		t.Fatalf("the link is %s", link.URL)
	}
	asJSON := []string{"Content-Type", "application/json"}
	for _, wrong := range []string{`{"code":""}`, `{"code":"` + code[1:] + `"}`, `{}`} {
		if got, text := s.ask(t, "POST", "/login", wrong, asJSON...); got != 403 {
			t.Errorf("%s: %d %s", wrong, got, text)
		}
	}
	got, text := s.ask(t, "POST", "/login", `{"code":"`+code+`"}`, asJSON...)
	var in struct{ Token string }
	if err := json.Unmarshal([]byte(text), &in); got != 200 || err != nil || in.Token == token || len(in.Token) < 26 {
		t.Fatalf("%d %s", got, text)
	}
	if got, text := s.ask(t, "GET", "/status", "", "Authorization", "Bearer "+in.Token); got != 200 {
		t.Errorf("with the token of the link: %d %s", got, text)
	}
	if got, _ := s.ask(t, "POST", "/login", `{"code":"`+code+`"}`, asJSON...); got != 403 {
		t.Errorf("a second time: %d", got)
	}
}

// The bridge is ready or not, says why to who may know, and lives on while it stops.
func TestReady(t *testing.T) {
	s := serve(t, loopback())
	code, text := s.ask(t, "GET", "/readyz", "", bearer...)
	if code != 503 || !strings.Contains(text, "pipeline ill is starting: ") ||
		!strings.Contains(text, "no route") || strings.Contains(text, "well") {
		t.Errorf("%d %s", code, text)
	}
	for _, p := range s.bridge.Pipelines {
		p.Optional = p.Name == "ill"
	}
	if code, text := s.ask(t, "GET", "/readyz", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	release := s.bridge.Hold()
	defer release()
	s.stop()
	if code, text := s.ask(t, "GET", "/readyz", "", bearer...); code != 503 ||
		!strings.Contains(text, "the bridge stops") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := s.ask(t, "GET", "/livez", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	if st, err := s.client.Status(t.Context()); err != nil || !st.Draining || st.Ready {
		t.Errorf("%+v, %v", st, err)
	}
}

// A pipeline is paused, resumed and restarted, and what cannot be is said.
func TestSteer(t *testing.T) {
	s := serve(t, admin.Settings{})
	state := func() (state monitor.State) {
		for _, p := range s.Status().Pipelines {
			if p.Name == "well" {
				state = p.State
			}
		}
		return state
	}
	do := func(what, want string) {
		t.Helper()
		err := s.client.Ask(t.Context(), "POST", "/pipelines/"+what, nil, nil)
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	do("well/resume", `pipeline "well" is not paused`)
	do("well/pause", "")
	if got := state(); got != monitor.Paused {
		t.Errorf("it is %s", got)
	}
	do("well/resume", "")
	bridgetest.Eventually(t, "it runs again", func() bool { return state() == monitor.Running })
	do("well/restart", "")
	bridgetest.Eventually(t, "it runs again", func() bool { return state() == monitor.Running })
	do("well/pause", "")
	do("well/restart", "")
	bridgetest.Eventually(t, "it runs again", func() bool { return state() == monitor.Running })
	burnt := &engine.Pipeline{
		Name: "burnt", From: s.bridge.Pipelines[0].From, Restart: engine.Restart{First: time.Hour},
		To: engine.To(bridge.Endpoint[bridge.Sink]{
			Type: "hole",
			Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
				return bridgetest.Nowhere{}, bridge.Permanent(errors.New("burnt"))
			},
		}),
	}
	if err := s.bridge.Start(burnt); err != nil {
		t.Fatal(err)
	}
	waits := func() bool {
		return slices.ContainsFunc(s.bridge.Situations(), func(one engine.Situation) bool {
			return one.Pipeline == burnt && one.Phase == engine.Waiting
		})
	}
	for _, action := range []string{"restart", "pause", "restart"} { // how it has ended is a warning
		bridgetest.Eventually(t, "it has failed", waits)
		do("burnt/"+action, "")
		if action == "pause" {
			do("burnt/resume", "")
		}
	}
	do("nobody/pause", `there is no pipeline "nobody"`)
	do("well/burn", "404")
	s.stop()
	do("well/pause", "stops")
}

// The socket is found at any of its places, is for this user only, and has one bridge.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Where the state cannot be, the socket is elsewhere, and found by the same path in other words.
	key := filepath.Join(dir, "file", "state")
	places := []admin.Place{admin.InState(owned.Place{Path: key}), admin.Elsewhere(key)}
	if _, err := admin.Dial(t.Context(), places...); !errors.Is(err, admin.ErrNobody) &&
		!strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
	s := admin.New(admin.Options{Bridge: &engine.Bridge{}, Monitor: monitor.New()})
	defer s.Close()
	at, err := s.Listen(t.Context(), places...)
	if err != nil || at != places[1] {
		t.Fatalf("%s, %v", at, err)
	}
	if info, err := os.Stat(at.String()); err != nil || info.Mode() != 0o600|os.ModeSocket {
		t.Errorf("%v, %v", info, err)
	}
	t.Chdir(dir)
	c, err := admin.Dial(t.Context(), admin.Elsewhere("./file/../file/state"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	other := admin.New(admin.Options{})
	defer other.Close()
	if _, err := other.Listen(t.Context(), at); !errors.As(err, new(*admin.InUseError)) {
		t.Errorf("a second bridge: %v", err)
	}
	// One that was killed leaves its socket behind.
	left := admin.InState(owned.Place{Path: dir})
	l, err := net.Listen("unix", left.String())
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := admin.Dial(t.Context(), left); !errors.Is(err, admin.ErrNobody) {
		t.Error(err)
	}
	if _, err := other.Listen(t.Context(), left); err != nil {
		t.Error(err)
	}
}

// Clients that say nothing take what connections there are over TCP, and nothing else: the socket
// answers, and when they have gone, TCP does.
func TestSilentClients(t *testing.T) {
	s := serve(t, loopback())
	address := strings.Trim(strings.TrimPrefix(s.url, "http:"), "/")
	var silent []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	if _, err := s.client.Status(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range silent {
		c.Close()
	}
	bridgetest.Eventually(t, "TCP answers", func() bool {
		r, err := http.Get(s.url + "livez")
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	// A body that is too large, by little: what is not read of it could reset the connection before
	// the answer is. And a head that never ends.
	if code, _ := s.ask(t, "POST", "/login", `{"code":"`+strings.Repeat("x", 1<<20), "Content-Type",
		"application/json"); code/100 != 4 {
		t.Errorf("a large body: %d", code)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	if answer, err := http.DefaultTransport.RoundTrip(r); err == nil { // else it was cut off
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a large head: %d", answer.StatusCode)
		}
	}
}

// The fields of the JSON of a status are there for programs: some may come, and none may go.
func TestStatusFieldsAreFrozen(t *testing.T) {
	var got []string
	fields(reflect.TypeFor[monitor.Status](), "", &got)
	want, err := os.ReadFile(filepath.Join("testdata", "status.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); d != "" {
		t.Errorf("a field that has gone (-) breaks programs; one that has come (+) is added to testdata/status.txt:\n%s", d)
	}
}

// fields adds those of a type, each with its type in JSON.
func fields(typ reflect.Type, at string, all *[]string) {
	for f := range typ.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind, path := f.Type, at+name
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Slice {
			kind, path = kind.Elem(), path+"[]"
		}
		if option != "" {
			option = " (if known)"
		}
		switch {
		case kind == reflect.TypeFor[time.Time]():
			*all = append(*all, path+" time"+option)
		case kind.Kind() == reflect.Struct:
			fields(kind, path+".", all)
		default:
			*all = append(*all, path+" "+kind.Kind().String()+option)
		}
	}
}

// What is logged has no token.
func TestTokensAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	s := admin.New(admin.Options{
		Bridge: &engine.Bridge{}, Monitor: monitor.New(),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	url, err := s.ListenTCP(t.Context(), loopback())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&served{Server: s, url: url}).ask(t, "GET", "/status", "", bearer...); err == "" {
		t.Error("nothing is said")
	}
	s.Close()
	if strings.Contains(log.String(), token) {
		t.Error(log.String())
	}
}
