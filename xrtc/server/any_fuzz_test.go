package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// FuzzRequest sends any request of a stranger: nothing that it asks for is given, the server goes
// on, and blames the request.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, path, header, value, body string }{
		{http.MethodPost, pathLogin, "Content-Type", "application/json", `{"accountid":"AC1000","apikey":"wrong"}`},
		{http.MethodPost, pathLogin, "Authorization", "Basic eA==", `{"accountid":["AC1000"],"apikey":{}}`},
		{http.MethodPost, pathLogin, "Content-Type", "multipart/form-data; boundary=x", "--x\r\n\r\n{}\r\n--x--"},
		{http.MethodGet, pathLogin, "", "", ""},
		{http.MethodOptions, pathSet, "Origin", "http://other.example.com", ""},
		{http.MethodPost, pathSet, "Cookie", "session=x; session=y", `{"items":[{"portalid":"p","payload":"stolen"}]}`},
		{http.MethodPost, pathGet, "Cookie", "=;;", `{"portals":[{"portalid":"p"}]}`},
		{http.MethodPost, pathStart, "", "", `{"email":"a@b"}`},
		{http.MethodPost, pathCode, "", "", `{"email":"a@b","code":"1"}`},
		{http.MethodDelete, "/v1/item/../auth/login", "Content-Length", "-1", "\x00"},
		{"", "", "", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.header, seed.value, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, method, path, header, value string, body []byte) {
		text, key := server.NewKey()
		limits := server.Open()
		limits.GetItemTimeout = time.Millisecond
		s, err := server.New(server.Config{
			Accounts: []server.Account{{ID: "AC1000", Keys: []server.Key{key}}},
			Limits:   limits,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		send := func(r *http.Request) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Method, r.URL = method, &url.URL{Path: path}
		r.Header.Set(header, value)
		w := send(r)
		if w.Code < 400 || w.Code >= 500 && path != pathStart && path != pathCode {
			if !bytes.Contains(body, []byte(text)) {
				t.Errorf("got status %d and %q", w.Code, w.Body)
			}
		}
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil && method != http.MethodHead {
			t.Errorf("got %q: %v", w.Body, err)
		}
		for _, c := range w.Result().Cookies() {
			if c.Value != "" {
				t.Errorf("got cookie %v", c)
			}
		}
		login := httptest.NewRequest(http.MethodPost, pathLogin,
			bytes.NewReader([]byte(`{"accountid":"AC1000","apikey":"`+text+`"}`)))
		if w := send(login); w.Code != http.StatusOK {
			t.Errorf("and then: got status %d and %s", w.Code, w.Body)
		}
	})
}
