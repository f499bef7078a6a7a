package server_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// attackPage calls the API in each way that a page can without being asked, and then goes on to the
// next page. The query of a call, which the API does not look at, says who made it.
const attackPage = `<iframe name="sink"></iframe>
<form id="form" target="sink" method="post" enctype="text/plain" action="PORTAL/v1/item/set?PAGE,form">
<input name='{"items":[{"portalid":"a","payload":"PAGE form' value='"}]}'></form>
<script>
const body = '{"items":[{"portalid":"a","payload":"PAGE script"}]}'
const call = (path, body) => fetch("PORTAL/v1/" + path, {method: "POST", mode: "no-cors", credentials: "include", body})
onload = async () => {
  navigator.sendBeacon("PORTAL/v1/item/set?PAGE,beacon", body)
  await call("item/set?PAGE,fetch", body)
  await call("item/get?PAGE,get", '{"portals":[{"portalid":"a"}]}')
  document.querySelector("iframe").onload = () => { location = "NEXT" }
  document.getElementById("form").submit()
}
</script>`

// S44: what pages of another port and of another site try with the session of a visitor, in a real
// browser. The same page is served at the server's own origin last: there all of it succeeds.
func TestS44Chromium(t *testing.T) {
	chromium := bridgetest.Program(t, "chromium")
	portal := start(t, config(t, nil))
	pages := map[string]string{} // by host and path
	answers := make(chan string, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(pages[r.Host+r.URL.Path]))
	})
	mux.HandleFunc("POST /v1/", func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		portal.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
		if r.URL.Path != pathLogin {
			who, _ := url.QueryUnescape(r.URL.RawQuery)
			answers <- fmt.Sprint(who, ": ", answer.Code)
		}
	})
	ours, others := httptest.NewUnstartedServer(mux), httptest.NewUnstartedServer(mux)
	at := func(host string, s *httptest.Server) string {
		return fmt.Sprint(host, ":", s.Listener.Addr().(*net.TCPAddr).Port)
	}
	own, samesite, crosssite := at("localhost", ours), at("localhost", others), at("127.0.0.1", others)
	page := func(name, next string) string {
		return strings.NewReplacer("PORTAL", "http://"+own, "PAGE", name, "NEXT", next).Replace(attackPage)
	}
	pages[own+"/login"] = fmt.Sprintf(
		`<script>fetch(%q, {method: "POST", body: '%s'}).then(() => { location = "http://%s/" })</script>`, pathLogin,
		loginBody(xrtctest.AccountID, xrtctest.APIKey), samesite)
	pages[samesite+"/"] = page("another port", "http://"+crosssite+"/")
	pages[crosssite+"/"] = page("another site", "http://"+own+"/")
	pages[own+"/"] = page("same origin", "about:blank")
	for _, s := range []*httptest.Server{ours, others} {
		s.Start()
		t.Cleanup(s.Close)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "http://"+own+"/login")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	want := map[string]bool{} // in any order, since a beacon takes its time
	for page, status := range map[string]int{"another port": 403, "another site": 403, "same origin": 200} {
		for _, how := range []string{"beacon", "fetch", "get", "form"} {
			want[fmt.Sprintf("%s,%s: %d", page, how, status)] = true
		}
	}
	for range len(want) {
		select {
		case got := <-answers:
			if !want[got] {
				t.Errorf("got %q, want one of %v", got, want)
			}
			delete(want, got)
		case err := <-ended:
			t.Fatalf("chromium ended: %v", err)
		case <-time.After(bridgetest.Timeout):
			t.Fatalf("there is no answer of %v", want)
		}
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("chromium was not killed")
	}
	got := get(t, portal, login(t, portal), `{"portals":[{"portalid":"a"}],"schedule":"FIFO"}`)
	if strings.Contains(got, "another") || !strings.Contains(got, "same origin") {
		t.Errorf("the portal holds %q", got)
	}
}
