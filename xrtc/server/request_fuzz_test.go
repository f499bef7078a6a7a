package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// FuzzItemRequest sends anything at all to the calls for items: they answer with JSON objects,
// and blame the request if something is wrong.
func FuzzItemRequest(f *testing.F) {
	const (
		form      = "application/x-www-form-urlencoded"
		multipart = "multipart/form-data; boundary=x"
	)
	for _, seed := range []struct{ contentType, body string }{
		{"", `{"items": [{"portalid": "p", "payload": "h\u00e9llo \ud83d\ude00 \"q\" \n/ ="}]}`},
		{form, `{items:[{"portalid":"send","payload":"a+b%20c&d=1"}]}`},
		{"text/plain; charset=utf-8", `{"portals": [{"portalid": "p"}], "mode": "stream"}`},
		{"application/json", `{"portals": [{"portalid": "p", "servertimestamp": 9}], "mode": "watch", "schedule": "FIFO", "cutoff": 500}`},
		{"", `{"portals":null,"mode":"stream","cutoff":-9223372036854775808}`},
		{"", `{"portals":[{"portalid":"a-b"}]}`},
		{"", "{\"items\":[{\"portalid\":\"\\n\",\"payload\":\"\xff\"}]}"},
		{multipart, "--x\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n{\"portals\":[]}\r\n--x--\r\n"},
		{multipart, "--x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--x--"},
		{"multipart/;boundary", "--"},
		{"", ""},
		{"", "[[[[[[[["},
	} {
		f.Add("/v1/item/set", seed.contentType, []byte(seed.body))
		f.Add("/v1/item/get", seed.contentType, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, path, contentType string, body []byte) {
		if path != "/v1/item/set" {
			path = "/v1/item/get"
		}
		text, key := server.NewKey()
		limits := server.Public()
		limits.GetItemTimeout = time.Millisecond
		s, err := server.New(server.Config{
			Accounts: []server.Account{{ID: "AC1000", Keys: []server.Key{key}}},
			Limits:   limits,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var cookies []*http.Cookie
		post := func(path, contentType string, body []byte) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		login := post("/v1/auth/login", "", []byte(`{"accountid":"AC1000","apikey":"`+text+`"}`))
		cookies = login.Result().Cookies()
		post("/v1/item/set", "", []byte(`{"items":[{"portalid":"p","payload":"1"},{"portalid":"q","payload":"2"}]}`))

		fuzzedAnswer(t, post(path, contentType, body))
		if w := post("/v1/item/get", "", []byte(`{"portals":[]}`)); w.Code != http.StatusOK || fuzzedAnswer(t, w) == 0 {
			t.Errorf("and then: got status %d and %s", w.Code, w.Body)
		}
	})
}

// fuzzedAnswer checks an answer and returns how many items it has.
func fuzzedAnswer(t *testing.T, w *httptest.ResponseRecorder) (items int) {
	t.Helper()
	if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
		t.Fatalf("got status %d and %s", w.Code, w.Body)
	}
	if got, want := w.Header().Get("Content-Type"), "application/json"; got != want {
		t.Errorf("got type %q, want %q", got, want)
	}
	for line := range bytes.Lines(w.Body.Bytes()) {
		var a struct {
			Items []struct {
				PortalID, Payload *string
				ServerTimestamp   int64
			}
			Error *struct {
				ErrorGroup, ErrorCode int
				ErrorMessage          string
			}
		}
		if err := json.Unmarshal(line, &a); err != nil || line[0] != '{' {
			t.Fatalf("got %q: %v", line, err)
		}
		for _, i := range a.Items {
			if i.PortalID == nil || i.Payload == nil || i.ServerTimestamp <= 0 {
				t.Errorf("got %q", line)
			}
		}
		items += len(a.Items)
		if (a.Error != nil) != (w.Code == http.StatusBadRequest) {
			t.Errorf("got status %d and %q", w.Code, line)
		}
		if e := a.Error; e != nil && (e.ErrorGroup != 6 || e.ErrorCode != 20 && e.ErrorCode != 30 || e.ErrorMessage == "") {
			t.Errorf("got %q", line)
		}
	}
	if w.Body.Len() == 0 {
		t.Error("got an empty answer")
	}
	return items
}
