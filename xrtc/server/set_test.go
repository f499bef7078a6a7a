package server_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func TestSet(t *testing.T) {
	s := start(t, config(t, nil))
	one := func(portal, payload string) string {
		return `{"items":[{"portalid":` + portal + `,"payload":` + payload + `}]}`
	}
	for _, tt := range []struct {
		name, body string
		code       int    // 0: it succeeds
		want       string // and this is there then, in FIFO order
	}{
		{"one", one(`"a"`, `"1"`), 0, "a:1"},
		{
			"as Python sends it", `{"items": [{"portalid": "a", "payload": "h\u00e9llo \ud83d\ude00 \"q\" \n/ ="}]}`, 0,
			"a:héllo 😀 \"q\" \n/ =",
		},
		{"as documented for curl", `{items:[{"portalid":"a","payload":"a+b%20c&d=1"}]}`, 0, "a:a+b%20c&d=1"},
		{"nothing quoted", `{items:[{portalid:a,payload:x-1.y_z}]}`, 0, "a:x-1.y_z"},
		{
			"several portals", `{"items":[{"portalid":"a","payload":"1"},{"portalid":"b","payload":"2"},{"portalid":"a","payload":"3"}]}`,
			0, "a:1 b:2 a:3",
		},
		{"other order", `{"items":[{"payload":"1","portalid":"a"}]}`, 0, "a:1"},
		{"empty payload", one(`"a"`, `""`), 0, "a:"},
		{"JSON in the payload", one(`"a"`, `"{\"x\":[1]}"`), 0, `a:{"x":[1]}`},
		{"NUL in the payload", one(`"a"`, `"\u0000"`), 0, "a:\x00"},
		{"HTML in the payload", one(`"a"`, `"<&>\u2028"`), 0, "a:<&>\u2028"},
		{"half a surrogate", one(`"a"`, `"x\ud83dy"`), 0, "a:x\uFFFDy"},
		{"a timestamp", `{"items":[{"portalid":"a","payload":"1","servertimestamp":5}]}`, 0, "a:1"},
		{"32 characters", one(`"aB3456789012345678901234567890zZ"`, `"1"`), 0, "aB3456789012345678901234567890zZ:1"},
		{"white space", " \t\r\n" + one(` "a" `, "\n\"1\"\n") + " \n", 0, "a:1"},

		{"nothing", ``, 20, ""},
		{"not JSON", `items=a`, 20, ""},
		{"list", `[]`, 20, ""},
		{"null", `null`, 20, ""},
		{"no items", `{}`, 20, ""},
		{"null items", `{"items":null}`, 20, ""},
		{"items is an object", `{"items":{"portalid":"a","payload":"1"}}`, 20, ""},
		{"misnamed", `{"item":[{"portalid":"a","payload":"1"}]}`, 20, ""},
		{"other case", `{"Items":[{"portalid":"a","payload":"1"}]}`, 20, ""},
		{"further name", `{"items":[{"portalid":"a","payload":"1"}],"mode":"probe"}`, 20, ""},
		{"further name in an item", `{"items":[{"portalid":"a","payload":"1","x":1}]}`, 20, ""},
		{"no portal", `{"items":[{"payload":"1"}]}`, 20, ""},
		{"no payload", `{"items":[{"portalid":"a"}]}`, 20, ""},
		{"number as payload", one(`"a"`, `1`), 20, ""},
		{"null as payload", one(`"a"`, `null`), 20, ""},
		{"true as payload", one(`"a"`, `true`), 20, ""},
		{"object as payload", one(`"a"`, `{}`), 20, ""},
		{"number as portal", one(`7`, `"1"`), 20, ""},
		{"text as timestamp", `{"items":[{"portalid":"a","payload":"1","servertimestamp":"5"}]}`, 20, ""},
		{"fraction as timestamp", `{"items":[{"portalid":"a","payload":"1","servertimestamp":5.5}]}`, 20, ""},
		{"text in the list", `{"items":["a"]}`, 20, ""},
		{"twice", `{"items":[{"portalid":"a","portalid":"b","payload":"1"}]}`, 20, ""},
		{"something behind", one(`"a"`, `"1"`) + `{}`, 20, ""},
		{"not closed", `{"items":[{"portalid":"a","payload":"1"}]`, 20, ""},
		{"trailing comma", `{"items":[{"portalid":"a","payload":"1"},]}`, 20, ""},
		{"single quotes", `{'items':[{'portalid':'a','payload':'1'}]}`, 20, ""},
		{"comment", `{/**/"items":[{"portalid":"a","payload":"1"}]}`, 20, ""},
		{"byte order mark", "\xef\xbb\xbf" + one(`"a"`, `"1"`), 20, ""},
		{"not UTF-8", one(`"a"`, "\"\xff\""), 20, ""},
		{"a line end in a text", one(`"a"`, "\"\n\""), 20, ""},
		{"deep", `{"items":` + strings.Repeat("[", 60000), 20, ""},
		{"deep objects", strings.Repeat(`{"items":[`, 6000), 20, ""},

		{"empty list", `{"items":[]}`, 30, ""},
		{"empty portal", one(`""`, `"1"`), 30, ""},
		{"33 characters", one(`"aB3456789012345678901234567890zZ1"`, `"1"`), 30, ""},
		{"minus", one(`"a-b"`, `"1"`), 30, ""},
		{"underscore", one(`"a_b"`, `"1"`), 30, ""},
		{"blank", one(`"a b"`, `"1"`), 30, ""},
		{"trailing line end", one(`"a\n"`, `"1"`), 30, ""},
		{"letter outside ASCII", one(`"é"`, `"1"`), 30, ""},
		{"digit outside ASCII", one(`"\u0663"`, `"1"`), 30, ""},
		{"one bad item", `{"items":[{"portalid":"a","payload":"1"},{"portalid":"b-","payload":"2"}]}`, 30, ""},
		{"one bad type", `{"items":[{"portalid":"a","payload":"1"},{"portalid":"b","payload":2}]}`, 20, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cookie := login(t, s)
			all := `{"portals":[{"portalid":"a"},{"portalid":"b"},{"portalid":"aB3456789012345678901234567890zZ"}],"schedule":"FIFO"}`
			get(t, s, cookie, all)
			w := post(t, s, pathSet, cookie, tt.body)
			if tt.code != 0 {
				refused(t, w, http.StatusBadRequest, 6, tt.code)
			} else if w.Code != http.StatusOK {
				t.Fatalf("got status %d and %s", w.Code, w.Body)
			}
			if got := get(t, s, cookie, all); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// All items of a set carry the timestamp that the answer reports.
func TestSetTimestamp(t *testing.T) {
	c := config(t, nil)
	now := newClock(sampleTime)
	c.Now = now.Now
	s := start(t, c)
	cookie := login(t, s)
	w := post(t, s, pathSet, cookie, setBody(t, "a:1", "b:2", "a:3"))
	if got, want := w.Body.String(), `{"servertimestamp":1795327834800}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got := decode(t, post(t, s, pathGet, cookie, `{"portals":[{"portalid":"a"},{"portalid":"b"}]}`).Body.String()).Items
	want := []answerItem{{"a", "3", sampleTime}, {"b", "2", sampleTime}, {"a", "1", sampleTime}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What the body is said to be means nothing.
func TestContentType(t *testing.T) {
	s := start(t, config(t, nil))
	const payload = "a+b%20c&d=1;e=%zz+"
	for _, contentType := range []string{
		"", "text/plain; charset=utf-8", "application/json", "application/x-www-form-urlencoded",
		"application/octet-stream", "image/png",
		"multipart/form-data", "multipart/form-data; boundary=x", "multipart/", "/", ";;;",
		"text/plain; charset=latin-1", "\x00",
	} {
		t.Run(contentType, func(t *testing.T) {
			cookie := login(t, s)
			do := func(path, body string) *httptest.ResponseRecorder {
				r := request(t, path, cookie, body)
				if contentType != "" {
					r.Header.Set("Content-Type", contentType)
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				return w
			}
			if w := do(pathSet, `{"items":[{"portalid":"a","payload":"`+payload+`"}]}`); w.Code != http.StatusOK {
				t.Fatalf("set: got status %d and %s", w.Code, w.Body)
			}
			w := do(pathGet, ` {"portals":[]}`)
			if got, want := show(t, w.Body.String()), "a:"+payload; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if w := do(pathLogin, loginBody(xrtctest.AccountID, secondKey)); w.Code != http.StatusOK {
				t.Errorf("login: got status %d and %s", w.Code, w.Body)
			}
		})
	}
}

// What curl -F sends: the first part is the body.
func TestMultipart(t *testing.T) {
	s := start(t, config(t, nil))
	cookie := login(t, s)
	parts := func(texts ...string) (contentType, body string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i, text := range texts {
			p, err := w.CreateFormFile(fmt.Sprint("name", i), "file.json")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = p.Write([]byte(text))
		}
		_ = w.Close()
		return w.FormDataContentType(), b.String()
	}
	kind, body := parts(setBody(t, "a:a+b%20c&d=1"), `{"items":[]}`)
	_, none := parts()
	_, noJSON := parts("x")
	for _, tt := range []struct {
		name, contentType, body string
		code                    int
	}{
		{"file", kind, body, 0},
		{"in capitals", strings.Replace(kind, "multipart/form-data", "Multipart/Form-Data", 1), body, 0},
		{"no part", kind, none, 20},
		{"no JSON", kind, noJSON, 20},
		{"no boundary", "multipart/form-data", body, 20},
		{"other boundary", "multipart/form-data; boundary=x", body, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, pathSet, cookie, tt.body)
			r.Header.Set("Content-Type", tt.contentType)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if tt.code != 0 {
				refused(t, w, http.StatusBadRequest, 6, tt.code)
				return
			}
			if got, want := get(t, s, cookie, probeA), "a:a+b%20c&d=1"; w.Code != http.StatusOK || got != want {
				t.Errorf("got %q and %s, want %q", got, w.Body, want)
			}
		})
	}
}

func TestChunkedBody(t *testing.T) {
	s := xrtctest.Start(t, config(t, nil))
	cookie := login(t, s)
	c := dial(t, s.Addr)
	body := setBody(t, "a:1")
	c.send("POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie +
		"\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, part := range []string{body[:5], body[5:6], body[6:]} {
		c.send(fmt.Sprintf("%x\r\n%s\r\n", len(part), part))
	}
	c.send("0\r\n\r\n")
	if status, body := c.answer(); status != "200 OK" {
		t.Errorf("got %s and %s", status, body)
	}
	if got, want := get(t, s, cookie, probeA), "a:1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// S10: what stands behind a request that has both a length and an encoding, for a proxy may have
// taken it for a part of that, is no request: the connection is closed (RFC 9112, 6.1).
func TestS10LengthAndEncoding(t *testing.T) {
	s := xrtctest.Start(t, config(t, nil))
	cookie := login(t, s)
	body, behind := setBody(t, "a:1"), rawPost(pathSet, cookie, setBody(t, "a:smuggled"))
	head := "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n"
	const encoding = "Transfer-Encoding: chunked\r\n"
	for _, lengths := range []string{
		"", "Content-Length: 5\r\n", "content-length: 0\r\n",
		"Content-Length: " + itoa(len(body)+len(behind)) + "\r\n",
	} {
		for _, fields := range []string{lengths + encoding, encoding + lengths} {
			c := dial(t, s.Addr)
			c.send(fmt.Sprintf("%s%s\r\n%x\r\n%s\r\n0\r\n\r\n%s", head, fields, len(body), body, behind))
			c.answer()
			if rest, err := io.ReadAll(c.r); len(rest) > 0 { // the end may be a reset
				t.Errorf("%q: got %q, %v, want the end", fields, rest, err)
			}
			if got := get(t, s, cookie, probeA); got != "a:1" && got != "" {
				t.Errorf("%q: got %q", fields, got)
			}
		}
	}
}

// A set that does not arrive whole is refused, and never looks like one that was taken.
func TestTruncatedBody(t *testing.T) {
	s := xrtctest.Start(t, config(t, nil))
	cookie := login(t, s)
	whole := rawPost(pathSet, cookie, setBody(t, "a:1")+"   ")
	chunked := "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie +
		"\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct{ name, text string }{
		{"in the JSON", whole[:len(whole)-8]},
		{"behind the JSON", whole[:len(whole)-1]},
		{"in a chunk", chunked + "40\r\n" + setBody(t, "a:1")},
		{"no last chunk", fmt.Sprintf("%s%x\r\n%s\r\n", chunked, len(setBody(t, "a:1")), setBody(t, "a:1"))},
		{"bad chunk", chunked + "zz\r\n" + setBody(t, "a:1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s.Addr)
			c.send(tt.text)
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if status, body := c.answer(); status != "400 Bad Request" || decode(t, body).Error.ErrorCode != 20 {
				t.Errorf("got %s and %s", status, body)
			}
			if got := get(t, s, cookie, probeA); got != "" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A client that sends everything before it reads learns what was wrong.
func TestOversizedBody(t *testing.T) {
	s := xrtctest.Start(t, config(t, func(l *server.Limits) { l.PayloadSizeMax = 1024 }))
	cookie := login(t, s)
	for _, tt := range []struct {
		name, path string
		size       int
		code       int
	}{
		{"set, one byte", pathSet, 1025, 20},
		{"get, one byte", pathGet, 1025, 20},
		{"set, 100 kB", pathSet, 100_000, 20},
		{"set, 500 kB", pathSet, 500_000, 20},
		{"login, 500 kB", pathLogin, 500_000, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"items":[{"portalid":"a","payload":"`
			body += strings.Repeat("x", tt.size-len(body)-len(`"}]}`)) + `"}]}`
			c := dial(t, s.Addr)
			c.post(tt.path, cookie, body)
			if status, text := c.answer(); status != "400 Bad Request" || decode(t, text).Error.ErrorCode != tt.code {
				t.Errorf("got %s and %s", status, text)
			}
			c.post(pathGet, cookie, probeA) // the connection can still be used
			if status, text := c.answer(); status != "200 OK" || text != "{}" {
				t.Errorf("got %s and %s", status, text)
			}
		})
	}
}

// A client that waits for permission gets the refusal instead of it.
func TestExpectContinue(t *testing.T) {
	s := xrtctest.Start(t, config(t, nil))
	head := "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 39\r\n"
	c := dial(t, s.Addr)
	c.send(head + "\r\n")
	if status, body := c.answer(); status != "401 Unauthorized" {
		t.Errorf("got %s and %s", status, body)
	}
	c = dial(t, s.Addr)
	c.send(head + "Cookie: " + login(t, s) + "\r\n\r\n")
	if got, want := c.line(), "HTTP/1.1 100 Continue"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	c.line()
	c.send(`{items:[{portalid:"a","payload":"123"}]`)
	if status, body := c.answer(); status != "400 Bad Request" {
		t.Errorf("got %s and %s", status, body)
	}
}

// The lines of the documentation, typed into a shell.
func TestCurl(t *testing.T) {
	curl := bridgetest.Program(t, "curl")
	s := xrtctest.Start(t, config(t, nil))
	jar := t.TempDir() + "/cookies"
	run := func(args ...string) string {
		t.Helper()
		args = append([]string{"-sS", "--max-time", "20", "--noproxy", "*", "-b", jar, "-c", jar}, args...)
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	url := "http://" + s.Addr
	run("-X", "POST", url+pathLogin, "-d", `{accountid:"`+xrtctest.AccountID+`","apikey":`+xrtctest.APIKey+`}`)
	run(url+pathSet, "-d", `{items:[{"portalid":"a","payload":"a+b%20c&d=1"}]}`)
	if got, want := show(t, run(url+pathGet, "-d", `{portals:[{"portalid":"a"}]}`)), "a:a+b%20c&d=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	run(url+pathSet, "-F", `name={"items":[{"portalid":"a","payload":"form"}]};type=application/json`)
	if got, want := show(t, run(url+pathGet, "-d", `{"portals":[],"mode":"stream"}`)), "a:form"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	big := `{"items":[{"portalid":"a","payload":"` + strings.Repeat("x", 2<<20) + `"}]}`
	cmd := exec.CommandContext(t.Context(), curl, "-sS", "--max-time", "20", "--noproxy", "*", "-b", jar, url+pathSet,
		"-d", "@-")
	cmd.Stdin = strings.NewReader(big)
	out, err := cmd.Output()
	if e := decode(t, string(out)).Error; e == nil || e.ErrorCode != 20 {
		t.Errorf("2 MiB: got %s, %v", out, err)
	}
}
