package server_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func TestLogin(t *testing.T) {
	const account, key = xrtctest.AccountID, xrtctest.APIKey
	s := start(t, config(t, nil))
	for _, tt := range []struct {
		name, body string
		code       int // 0: it succeeds
	}{
		{"right", loginBody(account, key), 0},
		{"second key", loginBody(account, secondKey), 0},
		{"other account", loginBody(otherAccount, otherKey), 0},
		{"other order", `{"apikey":"` + key + `","accountid":"` + account + `"}`, 0},
		{"white space", " \r\n\t{ \"accountid\" : \"" + account + "\" , \"apikey\" : \"" + key + "\" }\n", 0},
		{"escapes", strings.Replace(loginBody(account, key), "AC", `\u0041\u0043`, 1), 0},
		{"as documented for curl", `{accountid:"` + account + `","apikey":` + key + `}`, 0},

		{"nothing", ``, 30},
		{"not JSON", `accountid=` + account + `&apikey=` + key, 30},
		{"list", `[]`, 30},
		{"null", `null`, 30},
		{"text", `"x"`, 30},
		{"empty object", `{}`, 30},
		{"no key", `{"accountid":"` + account + `"}`, 30},
		{"no account", `{"apikey":"` + key + `"}`, 30},
		{"other case", strings.Replace(loginBody(account, key), "apikey", "apiKey", 1), 30},
		{"further name", `{"accountid":"` + account + `","apikey":"` + key + `","x":"y"}`, 30},
		{"twice", `{"accountid":"` + account + `","apikey":"` + key + `","apikey":"` + key + `"}`, 30},
		{"number", `{"accountid":"` + account + `","apikey":12345678901234567890123456789012}`, 30},
		{"null key", `{"accountid":"` + account + `","apikey":null}`, 30},
		{"something behind", loginBody(account, key) + "x", 30},
		{"two objects", loginBody(account, key) + loginBody(account, key), 30},
		{"NUL behind", loginBody(account, key) + "\x00", 30},
		{"not UTF-8", loginBody(account, "\xff"), 30},
		{"deep", `{"accountid":` + strings.Repeat("[", 60000), 30},
		{"too large", loginBody(account, key) + strings.Repeat(" ", 65536), 30},

		{"unknown account", loginBody("AC0987654321012399", key), 35},
		{"unknown key", loginBody(account, strings.Repeat("x", 32)), 35},
		{"key of another account", loginBody(account, otherKey), 35},
		{"hash of the key", loginBody(account, parseKey(t, key).String()), 35},
		{"part of the key", loginBody(account, key[:31]), 35},
		{"longer key", loginBody(account, key+"x"), 35},
		{"key in other case", loginBody(account, strings.ToUpper(key)), 35},
		{"account in lower case", loginBody(strings.ToLower(account), key), 35},
		{"empty texts", loginBody("", ""), 35},
		{"control characters", loginBody(`AC\u0000\r\n\u001b[31m`, key), 35},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, pathLogin, "", tt.body)
			r.RemoteAddr = "192.0.2.1:" + itoa(len(tt.body)) // refusals make later ones slower
			if tt.code == 35 {
				s = start(t, config(t, nil))
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if tt.code != 0 {
				refused(t, w, http.StatusBadRequest, 4, tt.code)
				return
			}
			if w.Code != http.StatusOK || len(w.Header().Values("Set-Cookie")) != 1 {
				t.Fatalf("got status %d, %v and %s", w.Code, w.Header(), w.Body)
			}
			if got := w.Body.String(); !regexp.MustCompile(`^\{"servertimestamp":[0-9]{13}\}$`).MatchString(got) {
				t.Errorf("got %s", got)
			}
			if got, want := w.Header().Get("Content-Type"), "application/json"; got != want {
				t.Errorf("got type %q, want %q", got, want)
			}
		})
	}
}

func TestLoginCookie(t *testing.T) {
	s := start(t, config(t, nil))
	for _, tt := range []struct {
		name string
		tls  *tls.ConnectionState
		want string
	}{
		{"http", nil, `^JSESSIONID=[A-Za-z0-9]{43}; Path=/; HttpOnly; SameSite=Strict$`},
		{"https", &tls.ConnectionState{}, `^JSESSIONID=[A-Za-z0-9]{43}; Path=/; HttpOnly; Secure; SameSite=Strict$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey))
			r.TLS = tt.tls
			r.Host = "localhost:8080"
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			got := w.Header().Values("Set-Cookie")
			if len(got) != 1 || !regexp.MustCompile(tt.want).MatchString(got[0]) {
				t.Errorf("got cookies %q, want one like %s", got, tt.want)
			}
		})
	}
}

// A login makes a fresh session, whatever cookie comes with it, and leaves older ones alone.
func TestLoginIsFresh(t *testing.T) {
	s := start(t, config(t, nil))
	first := login(t, s)
	set(t, s, first, "a:1")
	if got, want := get(t, s, first, probeA), "a:1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, cookie := range []string{first, "JSESSIONID=chosenByAStranger"} {
		w := post(t, s, pathLogin, cookie, loginBody(xrtctest.AccountID, xrtctest.APIKey))
		c := w.Result().Cookies()
		if len(c) != 1 || c[0].Name+"="+c[0].Value == cookie {
			t.Fatalf("got cookies %v after a login with %q", c, cookie)
		}
		if got, want := get(t, s, "JSESSIONID="+c[0].Value, probeA), "a:1"; got != want {
			t.Errorf("the new session: got %q, want %q", got, want)
		}
	}
	if got, want := get(t, s, first, probeA), ""; got != want {
		t.Errorf("the old session: got %q, want %q", got, want)
	}
	refused(t, post(t, s, pathGet, "JSESSIONID=chosenByAStranger", probeA), http.StatusUnauthorized, 2, 10011)
}

func TestCookies(t *testing.T) {
	s := start(t, config(t, nil))
	cookie := login(t, s)
	for _, tt := range []struct {
		name   string
		header []string
		want   int
	}{
		{"alone", []string{cookie}, http.StatusOK},
		{"first", []string{cookie + "; AWSALBAPP-0=_remove_"}, http.StatusOK},
		{"last", []string{"AWSALBAPP-0=_remove_; " + cookie}, http.StatusOK},
		{"between", []string{"a=b; " + cookie + "; c=\"d\""}, http.StatusOK},
		{"own line", []string{"AWSALBAPP-0=_remove_", cookie}, http.StatusOK},
		{"among ill-formed ones", []string{"=; ;;x; \x80=1; " + cookie}, http.StatusOK},
		{"of another server first", []string{"JSESSIONID=ABC123.node-1; " + cookie}, http.StatusOK},
		{"none", nil, http.StatusUnauthorized},
		{"empty", []string{"JSESSIONID="}, http.StatusUnauthorized},
		{"unknown", []string{"JSESSIONID=ABC123.node-1"}, http.StatusUnauthorized},
		{"name in other case", []string{"jsessionid" + cookie[len("JSESSIONID"):]}, http.StatusUnauthorized},
		{"shorter", []string{cookie[:len(cookie)-1]}, http.StatusUnauthorized},
		{"longer", []string{cookie + "x"}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range []struct{ path, body string }{{pathSet, setBody(t, "a:1")}, {pathGet, probeA}} {
				r := request(t, call.path, "", call.body)
				r.Header["Cookie"] = tt.header
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != tt.want {
					t.Errorf("%s: got status %d, want %d: %s", call.path, w.Code, tt.want, w.Body)
				}
				if tt.want == http.StatusUnauthorized {
					refused(t, w, tt.want, 2, 10011)
				}
			}
		})
	}
}

// Without a session nothing else of a request is looked at.
func TestSessionBeforeBody(t *testing.T) {
	s := start(t, config(t, nil))
	for _, path := range []string{pathSet, pathGet} {
		r := request(t, path, "JSESSIONID=x", "")
		body := new(read)
		r.Body, r.ContentLength = body, 1<<40
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		refused(t, w, http.StatusUnauthorized, 2, 10011)
		if got, want := w.Body.String(),
			`{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"Server session denied"}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if *body {
			t.Errorf("%s: the body was read", path)
		}
	}
}

// read is a body that tells whether it was.
type read bool

func (r *read) Read([]byte) (int, error) { *r = true; return 0, io.EOF }
func (r *read) Close() error             { return nil }

func TestMethodsAndPaths(t *testing.T) {
	c := config(t, nil)
	c.Mailer = new(mailer)
	s := start(t, c)
	cookie := login(t, s)
	for _, path := range []string{pathLogin, pathSet, pathGet, pathStart, pathCode} {
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
			http.MethodTrace, "post", "X",
		} {
			t.Run(method+" "+path, func(t *testing.T) {
				r := request(t, path, cookie, "")
				r.Method = method
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				refused(t, w, http.StatusMethodNotAllowed, 2, 30)
				if got, want := w.Header().Get("Allow"), http.MethodPost; got != want {
					t.Errorf("got Allow %q, want %q", got, want)
				}
			})
		}
	}
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v1/item", "/v1/item/", "/v1/item/set/", "/v1/item//set", "//v1/item/set",
		"/v1/./item/set", "/v1/item/../item/set",
		"/v1/item/Set", "/v1/auth/logout", "/v2/item/set", "/v1/item/set;x", "/favicon.ico", "/v1/item/set%00", "*",
	} {
		t.Run("path "+path, func(t *testing.T) {
			r := request(t, "/", cookie, setBody(t, "a:1"))
			r.URL.Path = path
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			refused(t, w, http.StatusNotFound, 2, 30)
			if got := w.Header().Get("Location"); got != "" {
				t.Errorf("got a redirect to %q", got)
			}
		})
	}
	if w := post(t, s, pathGet+"?mode=stream&portals=x", cookie, probeA); w.Code != http.StatusOK ||
		w.Body.String() != "{}" {
		t.Errorf("a query changes the answer: got status %d and %s", w.Code, w.Body)
	}
}

// The wait between logins is counted per key from its last successful login.
func TestLoginTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, func(l *server.Limits) { l.LoginTimeout = 5 * time.Second }))
		try := func(key string) *httptest.ResponseRecorder {
			return post(t, s, pathLogin, "", loginBody(xrtctest.AccountID, key))
		}
		first := login(t, s)
		w := try(xrtctest.APIKey)
		refused(t, w, http.StatusBadRequest, 4, 45)
		if got, want := w.Header().Get("Retry-After"), "5"; got != want {
			t.Errorf("got Retry-After %q, want %q", got, want)
		}
		if w := try(secondKey); w.Code != http.StatusOK {
			t.Errorf("another key of the account has to wait, too: %s", w.Body)
		}
		refused(t, try(otherKey), http.StatusBadRequest, 4, 35)
		pass(4999 * time.Millisecond)
		refused(t, try(xrtctest.APIKey), http.StatusBadRequest, 4, 45)
		refused(t, try("wrong"), http.StatusBadRequest, 4, 35)
		pass(time.Millisecond)
		if w := try(xrtctest.APIKey); w.Code != http.StatusOK {
			t.Errorf("refused attempts extend the wait: %s", w.Body)
		}
		refused(t, try(xrtctest.APIKey), http.StatusBadRequest, 4, 45)
		if got := get(t, s, first, probeA); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

// Bad credentials do not begin the wait of a key that never logged in.
func TestLoginTimeoutAfterRefusals(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.LoginTimeout = time.Hour }))
	refused(t, post(t, s, pathLogin, "", loginBody(otherAccount, xrtctest.APIKey)), http.StatusBadRequest, 4, 35)
	refused(t, post(t, s, pathLogin, "", `{}`), http.StatusBadRequest, 4, 30)
	login(t, s)
}
