package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// mailer keeps the last code of each address.
type mailer struct {
	mu    sync.Mutex // guards what follows
	codes map[string]string
	sends int
	err   error
}

func (m *mailer) SendCode(_ context.Context, email, code string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.codes == nil {
		m.codes = make(map[string]string)
	}
	m.codes[email] = code
	m.sends++
	return m.err
}

func (m *mailer) code(email string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.codes[email]
}

// other returns a code that is wrong.
func (m *mailer) other(email string) string {
	if m.code(email) == "23456789AB" {
		return "23456789AC"
	}
	return "23456789AB"
}

func TestRegistrationOff(t *testing.T) {
	s := start(t, config(t, nil))
	for _, path := range []string{pathStart, pathCode} {
		refused(t, post(t, s, path, "", `{"email":"a@b.c"}`), http.StatusNotFound, 2, 30)
	}
}

// office is a server with registration.
type office struct {
	*server.Server
	t    *testing.T
	mail *mailer
	told []server.Account
	full error  // of keeping an account
	from string // address of the client
}

func newOffice(t *testing.T, change func(*server.Limits)) *office {
	t.Helper()
	o := &office{t: t, mail: new(mailer)}
	c := config(t, change)
	c.Mailer = o.mail
	c.Registered = func(a server.Account) error {
		if o.full != nil {
			return o.full
		}
		o.told = append(o.told, a)
		return nil
	}
	o.Server = start(t, c)
	return o
}

func (o *office) start(email string) *httptest.ResponseRecorder {
	r, w := request(o.t, pathStart, "", fmt.Sprintf(`{"email":%q}`, email)), httptest.NewRecorder()
	if o.from != "" {
		r.RemoteAddr = o.from
	}
	o.ServeHTTP(w, r)
	return w
}

// begin starts a registration and returns its token.
func (o *office) begin(email string) string {
	o.t.Helper()
	w := o.start(email)
	var a struct{ RegistrationToken string }
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK || a.RegistrationToken == "" {
		o.t.Fatalf("start: got status %d and %s", w.Code, w.Body)
	}
	return a.RegistrationToken
}

func codeBody(token, code string) string {
	return fmt.Sprintf(`{"registrationtoken":%q,"emailcode":%q}`, token, code)
}

type registered struct{ AccountID, APIKey, APIKeyName string }

// finish trades the code for a key.
func (o *office) finish(token, code string) registered {
	o.t.Helper()
	w := post(o.t, o, pathCode, "", codeBody(token, code))
	var a registered
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		o.t.Fatalf("code: got status %d and %s", w.Code, w.Body)
	}
	return a
}

func TestRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		token := o.begin("a@b.c")
		code := o.mail.code("a@b.c")
		if !regexp.MustCompile(`^[2-9A-HJ-NP-Z]{10}$`).MatchString(code) {
			t.Errorf("got code %q", code)
		}
		first := o.finish(token, " "+strings.ToLower(code[:5])+"-"+code[5:]) // as people type it
		if server.CheckAccountID(first.AccountID) != nil ||
			!regexp.MustCompile(`^[A-Za-z0-9]{32}$`).MatchString(first.APIKey) || first.APIKeyName == "" {
			t.Errorf("got %+v", first)
		}
		cookie := loginAs(t, o, first.AccountID, first.APIKey)
		set(t, o, cookie, "a:1")
		refused(t, post(t, o, pathCode, "", codeBody(token, code)), http.StatusBadRequest, 3, 33)

		second := o.finish(o.begin("a@b.c"), o.mail.code("a@b.c"))
		if second.AccountID != first.AccountID || second.APIKey == first.APIKey {
			t.Errorf("a known address: got %+v after %+v", second, first)
		}
		if got, want := get(t, o, loginAs(t, o, second.AccountID, second.APIKey), probeA), "a:1"; got != want {
			t.Errorf("another key of the account: got %q, want %q", got, want)
		}
		other := o.finish(o.begin("b@b.c"), o.mail.code("b@b.c"))
		if other.AccountID == first.AccountID {
			t.Error("two addresses share an account")
		}
		if len(o.told) != 3 || len(o.told[1].Keys) != 2 || o.told[1].Email != "a@b.c" {
			t.Errorf("was told %+v", o.told)
		}
		if got := fmt.Sprintf("%+v", o.told); strings.Contains(got, first.APIKey) || strings.Contains(got, second.APIKey) {
			t.Error("keys are told in the clear")
		}
	})
}

func TestRegistrationArguments(t *testing.T) {
	o := newOffice(t, nil)
	for _, tt := range []struct {
		name, path, body string
		code             int
	}{
		{"start, nothing", pathStart, ``, 30},
		{"start, empty", pathStart, `{}`, 30},
		{"start, misnamed", pathStart, `{"mail":"a@b.c"}`, 30},
		{"start, number", pathStart, `{"email":1}`, 30},
		{"start, further name", pathStart, `{"email":"a@b.c","x":""}`, 30},
		{"start, unknown token", pathStart, `{"email":"a@b.c","registrationtoken":"x"}`, 30},
		{"start, too large", pathStart, `{"email":"a@b.c"}` + strings.Repeat(" ", 65536), 30},
		{"address without at", pathStart, `{"email":"a"}`, 32},
		{"empty address", pathStart, `{"email":""}`, 32},
		{"address without dot", pathStart, `{"email":"a@b"}`, 32},
		{"two addresses", pathStart, `{"email":"a@b.c,d@e.f"}`, 32},
		{"address with name", pathStart, `{"email":"A <a@b.c>"}`, 32},
		{"address with line end", pathStart, `{"email":"a@b.c\r\nBcc: d@e.f"}`, 32},
		{"address with blank", pathStart, `{"email":" a@b.c"}`, 32},
		{"long address", pathStart, `{"email":"` + strings.Repeat("a", 251) + `@b.c"}`, 32},
		{"code, nothing", pathCode, ``, 30},
		{"code, no code", pathCode, `{"registrationtoken":"x"}`, 30},
		{"code, no token", pathCode, `{"emailcode":"123456"}`, 30},
		{"code, number", pathCode, `{"registrationtoken":"x","emailcode":123456}`, 30},
		{"code, further name", pathCode, `{"registrationtoken":"x","emailcode":"123456","x":""}`, 30},
		{"code, unknown token", pathCode, codeBody("x", "123456"), 33},
		{"code, empty token", pathCode, codeBody("", ""), 33},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, post(t, o, tt.path, "", tt.body), http.StatusBadRequest, 3, tt.code)
		})
	}
	if o.mail.sends != 0 {
		t.Errorf("%d mails were sent", o.mail.sends)
	}
}

func TestRegistrationTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		token := o.begin("a@b.c")
		for i, want := range []int{34, 34, 42, 42} {
			t.Logf("try %d", i)
			refused(t, post(t, o, pathCode, "", codeBody(token, o.mail.other("a@b.c"))), http.StatusBadRequest, 3, want)
		}
		refused(t, post(t, o, pathCode, "", codeBody(token, o.mail.code("a@b.c"))), http.StatusBadRequest, 3, 42)
		pass(time.Minute)
		refused(t, post(t, o, pathStart, "", fmt.Sprintf(`{"email":"a@b.c","registrationtoken":%q}`, token)),
			http.StatusBadRequest, 3, 41)

		token = o.begin("a@b.c")
		refused(t, post(t, o, pathCode, "", codeBody(token, o.mail.other("a@b.c"))), http.StatusBadRequest, 3, 34)
		o.finish(token, o.mail.code("a@b.c"))
	})
}

func TestRegistrationCodeAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		late, just := o.begin("a@b.c"), o.begin("b@b.c")
		pass(5 * time.Minute)
		o.finish(just, o.mail.code("b@b.c"))
		pass(time.Nanosecond)
		refused(t, post(t, o, pathCode, "", codeBody(late, o.mail.code("a@b.c"))), http.StatusBadRequest, 3, 43)
		pass(12 * time.Minute) // it is swept
		refused(t, post(t, o, pathCode, "", codeBody(late, o.mail.code("a@b.c"))), http.StatusBadRequest, 3, 33)
	})
}

func TestRegistrationSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		token := o.begin("a@b.c")
		body := fmt.Sprintf(`{"email":"a@b.c","registrationtoken":%q}`, token)
		refused(t, post(t, o, pathStart, "", body), http.StatusBadRequest, 3, 41) // too soon
		for range 2 {
			pass(20 * time.Second)
			if w := post(t, o, pathStart, "", body); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), token) {
				t.Fatalf("got status %d and %s", w.Code, w.Body)
			}
		}
		pass(time.Minute)
		refused(t, post(t, o, pathStart, "", body), http.StatusBadRequest, 3, 41) // too often
		refused(t, post(t, o, pathStart, "", strings.Replace(body, "a@", "b@", 1)), http.StatusBadRequest, 3, 30)
		if got, want := o.mail.sends, 3; got != want {
			t.Errorf("got %d mails, want %d", got, want)
		}
		o.finish(token, o.mail.code("a@b.c"))
	})
}

func TestRegistrationsMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		for i := range 100 {
			o.from = fmt.Sprintf("192.0.2.%d:1", i/40)
			o.begin(fmt.Sprintf("a%d@b.c", i))
		}
		refused(t, o.start("late@b.c"), http.StatusBadRequest, 3, 40)
		pass(12 * time.Minute)
		o.begin("late@b.c")
	})
}

// One network cannot keep others from registering, nor fill a mailbox: three mails for each of
// three registrations.
func TestRegistrationsOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		for i := range 50 {
			o.from = fmt.Sprintf("[2001:db8::%x]:1", i)
			o.begin(fmt.Sprintf("a%d@b.c", i))
		}
		refused(t, o.start("late@b.c"), http.StatusBadRequest, 3, 40)
		o.from = "[2001:db8:0:1::1]:1"
		for range 3 {
			o.begin("late@b.c")
		}
		refused(t, o.start("late@b.c"), http.StatusBadRequest, 3, 41)
		o.begin("other@b.c")
		pass(12 * time.Minute)
		o.begin("late@b.c")
	})
}

// Guessing is hopeless: an attacker who has all registrations for himself, and sends each code as
// often as he may, has some thousand tries an hour, for one of 32^10 codes.
func TestRegistrationGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		began, tries, networks := time.Now(), 0, 0
		for time.Since(began) < time.Hour {
			var tokens []string
			for i := range 100 {
				if i%50 == 0 {
					networks++
				}
				o.from = fmt.Sprintf("[2001:db8:0:%x::1]:1", networks%0xffff)
				w := o.start(fmt.Sprintf("victim%d@b.c", i/3))
				var a struct{ RegistrationToken string }
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, a.RegistrationToken)
			}
			for range 3 {
				for i, token := range tokens {
					for range 2 { // the third would end it
						post(t, o, pathCode, "", codeBody(token, "AAAAAAAAAA"))
						tries++
					}
					pass(time.Millisecond)
					post(t, o, pathStart, "", fmt.Sprintf(`{"email":"victim%d@b.c","registrationtoken":%q}`, i/3, token))
				}
				pass(20 * time.Second)
			}
			pass(11 * time.Minute)
		}
		if years := math.Pow(32, 10) / 2 / float64(tries) / 24 / 365; years < 10_000 {
			t.Errorf("%d tries in an hour: a code is guessed after %.0f years", tries, years)
		}
	})
}

// What cannot be kept is not given.
func TestRegistrationIsNotKept(t *testing.T) {
	o := newOffice(t, nil)
	first := o.finish(o.begin("a@b.c"), o.mail.code("a@b.c"))
	o.full = errors.New("secret disk is full")
	for _, email := range []string{"a@b.c", "new@b.c"} {
		w := post(t, o, pathCode, "", codeBody(o.begin(email), o.mail.code(email)))
		if refused(t, w, http.StatusBadRequest, 3, 40); strings.Contains(w.Body.String(), "secret") {
			t.Errorf("got %s", w.Body)
		}
	}
	o.full = nil
	if again := o.finish(o.begin("a@b.c"), o.mail.code("a@b.c")); again.AccountID != first.AccountID ||
		len(o.told) != 2 || len(o.told[1].Keys) != 2 {
		t.Errorf("got %+v, and was told %+v", again, o.told)
	}
}

func TestRegistrationMailFails(t *testing.T) {
	o := newOffice(t, nil)
	o.mail.err = errors.New("secret host is down")
	w := post(t, o, pathStart, "", `{"email":"a@b.c"}`)
	refused(t, w, http.StatusBadRequest, 3, 41)
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got %s", w.Body)
	}
}

// A registration whose code was not sent is not open: it takes no place, of the address or of all.
func TestRegistrationMailFailsOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, nil)
		o.mail.err = errors.New("down")
		for range 200 {
			refused(t, o.start("a@b.c"), http.StatusBadRequest, 3, 41)
		}
		o.mail.err = nil
		token := o.begin("a@b.c")
		first := o.mail.code("a@b.c")

		// Nor does a second code that cannot be sent count, or take the place of the first one.
		again := fmt.Sprintf(`{"email":"a@b.c","registrationtoken":%q}`, token)
		pass(30 * time.Second)
		o.mail.err = errors.New("down")
		for range 5 {
			refused(t, post(t, o, pathStart, "", again), http.StatusBadRequest, 3, 41)
		}
		o.mail.err = nil
		o.finish(token, first)
	})
}

// Nothing tells a stranger whether an address has an account.
func TestRegistrationTellsNothing(t *testing.T) {
	o := newOffice(t, nil)
	o.finish(o.begin("known@b.c"), o.mail.code("known@b.c"))
	var texts [2]string
	for i, email := range []string{"known@b.c", "unknown@b.c"} {
		token := o.begin(email)
		texts[i] = post(t, o, pathCode, "", codeBody(token, o.mail.other(email))).Body.String()
	}
	if texts[0] != texts[1] {
		t.Errorf("got %s and %s", texts[0], texts[1])
	}
}

func TestAPIKeyCountMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, func(l *server.Limits) { l.APIKeyCountMax = 3 })
		var all []registered
		for range 5 {
			all = append(all, o.finish(o.begin("a@b.c"), o.mail.code("a@b.c")))
		}
		for i, r := range all {
			w := post(t, o, pathLogin, "", loginBody(r.AccountID, r.APIKey))
			if i < 2 {
				refused(t, w, http.StatusBadRequest, 4, 35)
			} else if w.Code != http.StatusOK {
				t.Errorf("key %d: got status %d and %s", i, w.Code, w.Body)
			}
		}
		if got, want := len(o.told[4].Keys), 3; got != want {
			t.Errorf("got %d keys, want %d", got, want)
		}
		login(t, o) // other accounts keep theirs
	})
}

// An address gets one account, even from registrations that end at the same time.
func TestRegistrationsAtOnce(t *testing.T) {
	const n = 3
	o := newOffice(t, nil)
	var bodies [n]string
	for i := range bodies {
		token := o.begin("a@b.c")
		bodies[i] = codeBody(token, o.mail.code("a@b.c"))
	}
	var ids [n]string
	var wait sync.WaitGroup
	for i := range bodies {
		wait.Go(func() {
			var r registered
			if err := json.Unmarshal(post(t, o, pathCode, "", bodies[i]).Body.Bytes(), &r); err != nil {
				t.Error(err)
			}
			ids[i] = r.AccountID
		})
	}
	wait.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("got accounts %q", ids)
		}
	}
	if got, want := len(o.told[n-1].Keys), n; got != want {
		t.Errorf("was told of %d keys last, want %d", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	key := parseKey(t, xrtctest.APIKey)
	for _, tt := range []struct {
		name   string
		change func(*server.Config)
		want   string
	}{
		{"account id", func(c *server.Config) { c.Accounts[0].ID = "AC12x" }, `"AC12x"`},
		{"no key", func(c *server.Config) { c.Accounts[0].Keys = nil }, "has no key"},
		{"twice", func(c *server.Config) { c.Accounts = append(c.Accounts, c.Accounts[0]) }, "twice"},
		{"payload", func(c *server.Config) { c.Limits.PayloadSizeMax = 65537 }, "PAYLOAD_SIZE_MAX"},
		{"small payload", func(c *server.Config) { c.Limits.PayloadSizeMax = 1 }, "PAYLOAD_SIZE_MAX"},
		{"portals", func(c *server.Config) { c.Limits.PortalsCountMax = 0 }, "PORTALS_COUNT_MAX"},
		{"rate", func(c *server.Config) { c.Limits.RequestsPerSecond = -1 }, "REQUESTS_PER_SECOND"},
		{"time", func(c *server.Config) { c.Limits.GetItemTimeout = 0 }, "GET_ITEM_TIMEOUT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := server.Config{Limits: server.Public(), Accounts: []server.Account{{ID: "AC1000", Keys: []server.Key{key}}}}
			tt.change(&c)
			if _, err := server.New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %s", err, tt.want)
			}
		})
	}
}

func TestParseKey(t *testing.T) {
	text, key := server.NewKey()
	for _, form := range []string{text, key.String()} {
		if got := parseKey(t, form); got != key {
			t.Errorf("got %v, want %v", got, key)
		}
	}
	for _, bad := range []string{
		"", text[1:], text + "x", "-" + text[1:], "sha256:", "sha256:zz",
		key.String()[:70], strings.ToUpper(key.String()),
	} {
		if _, err := server.ParseKey(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) && len(bad) > 10 {
			t.Errorf("ParseKey(%q): got %v", bad, err)
		}
	}
}
