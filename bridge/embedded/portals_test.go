package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

const (
	account = "AC0987654321012345"
	apiKey  = "abcdefghijklmnopqrstuvwxyz012345"
)

func portals(listen string) *embedded.XRTC {
	return &embedded.XRTC{Listen: listen, Accounts: map[string][]bridge.Secret{account: {bridge.NewSecret(apiKey)}}}
}

// login logs in and returns the status of the answer and its cookie.
func login(t *testing.T, c *http.Client, base string) (int, *http.Cookie) {
	t.Helper()
	body := fmt.Sprintf(`{"accountid":%q,"apikey":%q}`, account, apiKey)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/auth/login", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if cookies := resp.Cookies(); len(cookies) == 1 {
		return resp.StatusCode, cookies[0]
	}
	return resp.StatusCode, nil
}

func fresh(t *testing.T) *http.Client {
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// localhost is both loopback families, and the URL has a name, which Python's clients need.
func TestPortalsOnBothLoopbacks(t *testing.T) {
	e := start(t, embedded.Settings{XRTC: portals("localhost:0")})
	u, err := url.Parse(e.XRTCURL())
	if err != nil || u.Hostname() != "localhost" {
		t.Fatalf("URL %s", e.XRTCURL())
	}
	hosts := []string{"localhost", "127.0.0.1"}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil { // the machine has that family
		_ = l.Close()
		hosts = append(hosts, "[::1]")
	}
	c := fresh(t)
	for _, host := range hosts {
		if status, cookie := login(t, c, "http://"+host+":"+u.Port()); status != http.StatusOK || cookie == nil ||
			cookie.Secure {
			t.Errorf("login at %s: %d, %v", host, status, cookie)
		}
	}
}

// S44: over loopback the server goes by localhost, the name of the machine and those in hosts.
func TestS44PortalHosts(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	x := portals("localhost:0")
	x.Hosts = []string{"portals.example.com"}
	e := start(t, embedded.Settings{XRTC: x})
	for host, want := range map[string]int{
		"localhost": 200, machine + ":28080": 200, "portals.example.com": 200, "evil.example": 403,
	} {
		c := fresh(t)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.XRTCURL()+"/v1/auth/login",
			strings.NewReader(fmt.Sprintf(`{"accountid":%q,"apikey":%q}`, account, apiKey)))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %s, want %d", host, resp.Status, want)
		}
	}
	x.Hosts = []string{"portals.example.com:443"}
	if err := x.Validate(); err == nil || !strings.Contains(err.Error(), "without port") {
		t.Errorf("a name with a port: got %v", err)
	}
}

func TestPortalsOverTLS(t *testing.T) {
	x := portals("localhost:0")
	trust := fresh(t)
	x.TLS, trust.Transport.(*http.Transport).TLSClientConfig = selfSigned(t)
	e := start(t, embedded.Settings{XRTC: x})
	if !strings.HasPrefix(e.XRTCURL(), "https://localhost:") {
		t.Fatalf("URL %s", e.XRTCURL())
	}
	if status, cookie := login(t, trust, e.XRTCURL()); status != http.StatusOK || cookie == nil || !cookie.Secure {
		t.Errorf("login: %d, %v", status, cookie)
	}
	if _, err := fresh(t).Post(e.XRTCURL()+"/v1/auth/login", "", nil); err == nil { //nolint:bodyclose // there is no answer
		t.Error("a certificate is trusted that nobody vouches for")
	}
}

// Where the server can be reached from outside, without TLS, the log says so.
func TestPortalsInTheClearAreNamed(t *testing.T) {
	var log bytes.Buffer
	p, err := embedded.StartPortals(t.Context(), *portals("0.0.0.0:0"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "without TLS") {
		t.Errorf("log: %s", log.String())
	}
	if u, _ := url.Parse(p.URL()); net.ParseIP(u.Hostname()) != nil {
		t.Errorf("URL %s has no name", p.URL())
	}
}

func TestPortalsPortInUse(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	x := portals("localhost:" + strings.TrimPrefix(l.Addr().String(), "127.0.0.1:"))
	// NATS has started by then, and must be gone afterwards.
	_, err := embedded.Start(t.Context(),
		embedded.Settings{XRTC: x, NATS: &embedded.NATS{Listen: anyPort, Open: true}}, nil)
	if err == nil || !strings.Contains(err.Error(), "choose another listen address") {
		t.Errorf("got %v", err)
	}
}

// An open stream does not hold up the end, which would fail after a while, and ends as its time-out
// would end it.
func TestPortalsEndStreams(t *testing.T) {
	e := start(t, embedded.Settings{XRTC: portals("127.0.0.1:0")})
	c := fresh(t)
	_, cookie := login(t, c, e.XRTCURL())
	req := must(http.NewRequestWithContext(t.Context(), http.MethodPost, e.XRTCURL()+"/v1/item/get",
		strings.NewReader(`{"portals":[{"portalid":"a"}],"mode":"stream"}`)))
	req.AddCookie(cookie)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stop(t, e)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "{}\n" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestPortalsValidate(t *testing.T) {
	number := func(n int) *int { return &n }
	size := bridge.Size(1 << 20)
	for _, c := range []struct {
		name   string
		change func(*embedded.XRTC)
		key    string // empty: valid
	}{
		{"Good", func(*embedded.XRTC) {}, ""},
		{"Hash", func(x *embedded.XRTC) {
			x.Accounts[account] = []bridge.Secret{bridge.NewSecret("sha256:" + strings.Repeat("0a", 32))}
		}, ""},
		{"DefaultListen", func(x *embedded.XRTC) { x.Listen = "" }, ""},
		{"Listen", func(x *embedded.XRTC) { x.Listen = "localhost" }, "listen"},
		{"RegistrationWithoutAccount", func(x *embedded.XRTC) {
			x.Accounts, x.Registration = nil,
				new(embedded.Registration)
		}, ""},
		{"NoAccount", func(x *embedded.XRTC) { x.Accounts = nil }, "accounts"},
		{"AccountID", func(x *embedded.XRTC) { x.Accounts["me"] = x.Accounts[account] }, "accounts.me"},
		{"NoKey", func(x *embedded.XRTC) { x.Accounts[account] = nil }, "accounts." + account},
		{
			"Key", func(x *embedded.XRTC) { x.Accounts[account] = []bridge.Secret{bridge.NewSecret("secret")} },
			"accounts." + account,
		},
		{"BadHash", func(x *embedded.XRTC) {
			x.Accounts[account] = []bridge.Secret{bridge.NewSecret("sha256:secret")}
		}, "accounts." + account},
		{"Limit", func(x *embedded.XRTC) { x.Limits.PortalsCountMax = number(0) }, "limits"},
		{"Payload", func(x *embedded.XRTC) { x.Limits.PayloadSizeMax = &size }, "limits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := portals("localhost:0")
			c.change(x)
			err := x.Validate()
			var k *bridge.KeyError
			switch {
			case c.key == "" && err != nil:
				t.Errorf("got %v", err)
			case c.key != "" && (!errors.As(err, &k) || k.Key != c.key || strings.Contains(err.Error(), "secret")):
				t.Errorf("got %v, want an error of the key %s", err, c.key)
			}
		})
	}
}

func TestPortalsCanceledStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ctx, embedded.Settings{XRTC: portals("localhost:0")}, nil); !errors.Is(err,
		context.Canceled) {
		t.Errorf("got %v", err)
	}
}
