package embedded_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

// post is a mail server that keeps what it gets.
type post struct {
	address string
	user    string // whom it wants; empty: anybody
	mails   chan letter
}

type letter struct {
	from, to string
	secure   bool
	text     string
}

// mailbox is a session of a post.
type mailbox struct {
	*post
	letter
	known bool
}

func (m *mailbox) Reset()        {}
func (m *mailbox) Logout() error { return nil }

func (m *mailbox) AuthMechanisms() []string { return []string{sasl.Plain} }

func (m *mailbox) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != m.user || password != "pass" {
			return smtp.ErrAuthFailed
		}
		m.known = true
		return nil
	}), nil
}

func (m *mailbox) Mail(from string, _ *smtp.MailOptions) error {
	m.from = from
	if m.user != "" && !m.known {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (m *mailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.to = to
	return nil
}

func (m *mailbox) Data(r io.Reader) error {
	message, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(message.Body)
	m.text = string(text)
	m.mails <- m.letter
	return err
}

// startPost starts a mail server on loopback, with STARTTLS or, if implicit says so, with TLS from
// the beginning.
func startPost(t *testing.T, user string, secure *bridge.Certificate, implicit bool) *post {
	t.Helper()
	p := &post{user: user, mails: make(chan letter, 10)}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, encrypted := c.TLSConnectionState()
		return &mailbox{post: p, letter: letter{secure: encrypted}}, nil
	}))
	s.Domain = "localhost"
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	p.address = l.Addr().String()
	if secure != nil {
		s.TLSConfig = &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(secure.Cert, secure.Key))},
		}
	}
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	return p
}

// ask posts a JSON object and returns the answer.
func ask(t *testing.T, url string, values map[string]string) (answer map[string]any) {
	t.Helper()
	body := must(json.Marshal(values))
	resp, err := fresh(t).Do(must(http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

var codeForm = regexp.MustCompile(`\b[0-9A-Z]{5}-[0-9A-Z]{5}\b`)

// Somebody registers by mail, over a real SMTP conversation, and logs in, also after a restart of
// the server.
func TestRegistrationByMail(t *testing.T) {
	certificate, _ := selfSigned(t)
	for _, c := range []struct {
		name, scheme, user string
		secure             *bridge.Certificate
	}{
		{"plain on loopback", "smtp", "", nil},
		{"STARTTLS and password", "smtp", "bridge", certificate},
		{"TLS and password", "smtps", "bridge", certificate},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPost(t, c.user, c.secure, c.scheme == "smtps")
			set := embedded.SMTP{
				URL:  must(bridge.ParseURL(c.scheme + "://" + p.address)),
				From: "portals@example.com", Username: c.user,
			}
			if c.user != "" {
				set.Password = bridge.NewSecret("pass")
			}
			if c.secure != nil {
				set.TLS.CA = c.secure.Cert
			}
			file := filepath.Join(t.TempDir(), "accounts.json")
			x := &embedded.XRTC{Listen: "127.0.0.1:0", Registration: &embedded.Registration{SMTP: set, Accounts: file}}
			e := start(t, embedded.Settings{XRTC: x})
			url := e.XRTCURL() + "/v1/auth/"
			started := ask(t, url+"registrationstart", map[string]string{"email": "somebody@example.org"})
			token, _ := started["registrationtoken"].(string)
			if token == "" {
				t.Fatalf("start: %v", started)
			}
			got := <-p.mails
			code := codeForm.FindString(got.text)
			if got.from != "portals@example.com" || got.to != "somebody@example.org" ||
				got.secure != (c.secure != nil) || code == "" {
				t.Errorf("mail %+v", got)
			}
			given := ask(t, url+"registrationcode", map[string]string{"registrationtoken": token, "emailcode": code})
			credentials := map[string]string{"accountid": fmt.Sprint(given["accountid"]), "apikey": fmt.Sprint(given["apikey"])}
			stop(t, e)
			kept := must(os.ReadFile(file))
			if bytes.Contains(kept, []byte(credentials["apikey"])) || !bytes.Contains(kept, []byte("somebody@example.org")) {
				t.Errorf("kept: %s", kept)
			}
			if info := must(os.Stat(file)); info.Mode().Perm() != 0o600 {
				t.Errorf("the accounts have mode %v", info.Mode())
			}
			e = start(t, embedded.Settings{XRTC: x})
			if answer := ask(t, e.XRTCURL()+"/v1/auth/login", credentials); answer["servertimestamp"] == nil {
				t.Errorf("login after a restart: %v", answer)
			}
		})
	}
}

// A mail server that is away, or that refuses us, is no word to strangers, and is in the log.
func TestRegistrationMailFails(t *testing.T) {
	p := startPost(t, "bridge", nil, false)
	for name, address := range map[string]string{"refused": p.address, "away": "127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			x := embedded.XRTC{
				Listen:       "127.0.0.1:0",
				Registration: &embedded.Registration{SMTP: embedded.SMTP{URL: must(bridge.ParseURL("smtp://" + address))}},
			}
			s, err := embedded.StartPortals(t.Context(), x, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			answer := fmt.Sprint(ask(t, s.URL()+"/v1/auth/registrationstart",
				map[string]string{"email": "somebody@example.org"}))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if !strings.Contains(answer, "could not be sent") || strings.Contains(answer, "127.0.0.1") {
				t.Errorf("answer: %s", answer)
			}
			for _, want := range []string{"cannot send a registration code", "127.0.0.1", "forgotten when the server ends"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("log without %q: %s", want, log.String())
				}
			}
		})
	}
}

// S40: accounts in a file that another user could have written are not let in, unless it is shared.
func TestS40AccountsOfOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.json")
	if err := errors.Join(os.WriteFile(file, []byte("{}"), 0o600), os.Chmod(file, 0o602)); err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		x := embedded.XRTC{Listen: "127.0.0.1:0", Registration: &embedded.Registration{
			SMTP: embedded.SMTP{URL: must(bridge.ParseURL("smtp://127.0.0.1:25"))}, Accounts: file, Shared: shared,
		}}
		s, err := embedded.StartPortals(t.Context(), x, slog.New(slog.DiscardHandler))
		if err == nil {
			err = s.Close()
		}
		want := file + " is writable by everybody, so anybody could change it: chmod o-w " + file + "; "
		if shared && err != nil || !shared && (err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "write registration: {shared: true}")) {
			t.Errorf("shared %t: got %v, want %s", shared, err, want)
		}
	}
}

// What cannot work is found at the start.
func TestRegistrationValidate(t *testing.T) {
	dir := t.TempDir()
	bad, null := filepath.Join(dir, "bad.json"), filepath.Join(dir, "null.json")
	for file, text := range map[string]string{bad: `{"AC1234":{"ID":"AC1234","Keys":["short"]}}`, null: "null"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*embedded.Registration)
		want   string
	}{
		{
			"scheme", func(r *embedded.Registration) { r.SMTP.URL = must(bridge.ParseURL("http://mail.example.com")) },
			"smtp://mail.example.com:587",
		},
		{"no url", func(r *embedded.Registration) { r.SMTP.URL = bridge.URL{} }, "smtp://mail.example.com:587"},
		{"password in the url", func(r *embedded.Registration) {
			r.SMTP.URL = must(bridge.ParseURL("smtp://u:secret@mail"))
		}, "keys of their own"},
		{"sender", func(r *embedded.Registration) { r.SMTP.From = "me" }, "portals@example.com"},
		{"user alone", func(r *embedded.Registration) { r.SMTP.Username = "u" }, "go together"},
		{
			"no folder", func(r *embedded.Registration) { r.Accounts = filepath.Join(dir, "none", "accounts.json") },
			"no such file",
		},
		{"bad file", func(r *embedded.Registration) { r.Accounts = bad }, "bad.json: a key has 32 letters and digits"},
		{"null", func(r *embedded.Registration) { r.Accounts = null }, "null.json: it holds null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &embedded.Registration{SMTP: embedded.SMTP{URL: must(bridge.ParseURL("smtp://localhost"))}}
			c.change(r)
			_, err := embedded.StartPortals(t.Context(), embedded.XRTC{Listen: "127.0.0.1:0", Registration: r},
				slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
