package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/mail"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Mailer sends the code of a registration to an address. It has a few seconds.
type Mailer interface {
	SendCode(ctx context.Context, email, code string) error
}

// The rules of registrations.
const (
	codeLifetime     = 5 * time.Minute
	codeTriesMost    = 3
	codeSendsMost    = 3
	codeSendsApart   = 20 * time.Second
	codeLength       = 10  // of 32 characters: 50 bits, while all open registrations together have a few thousand tries an hour
	registrationsMax = 100 // open at a time; half of them from one origin
	sameAddressMost  = 3   // of them for one address
	longestEmail     = 254 // RFC 5321
)

// registrar gives accounts and keys to those who can read mail to an address.
type registrar struct {
	server *Server
	mailer Mailer
	keep   func(Account) error

	giving sync.Mutex // an address gets one account, and keep hears of its keys in their order

	mu   sync.Mutex // guards what follows
	open map[string]*registration
}

type registration struct {
	email string
	from  string // network, see origin
	code  string
	began time.Duration // when the code was sent
	tries int
	sends int
}

func newRegistrar(s *Server, m Mailer, keep func(Account) error) *registrar {
	if keep == nil {
		keep = func(Account) error { return nil }
	}
	return &registrar{server: s, mailer: m, keep: keep, open: make(map[string]*registration)}
}

func (r *registrar) refuse(code int, format string, args ...any) error {
	return &refusal{group: groupRegistration, code: code, text: fmt.Sprintf(format, args...)}
}

func (r *registrar) read(w http.ResponseWriter, req *http.Request, required int, names ...string) ([]string, error) {
	body, err := r.server.readStrange(w, req)
	if err != nil {
		return nil, inGroup(err, groupRegistration, codeArguments)
	}
	values, err := wire.DecodeTexts(body, required, names...)
	if err != nil {
		return nil, r.refuse(codeArguments, "%s", err)
	}
	return values, nil
}

func (r *registrar) serveStart(w http.ResponseWriter, req *http.Request) error {
	values, err := r.read(w, req, 1, "email", "registrationtoken")
	if err != nil {
		return err
	}
	address, err := mail.ParseAddress(values[0])
	if err != nil || len(values[0]) > longestEmail || address.Address != values[0] ||
		!strings.Contains(values[0][strings.LastIndexByte(values[0], '@'):], ".") {
		return r.refuse(codeEmail, "email: there can be no such address")
	}
	token, code, undo, err := r.begin(address.Address, values[1], origin(req.RemoteAddr))
	if err != nil {
		return err
	}
	if err := r.mailer.SendCode(req.Context(), address.Address, code); err != nil {
		undo()
		r.server.log.ErrorContext(req.Context(), "cannot send a registration code", "err", err)
		return r.refuse(codeSends, "the code could not be sent, try again later")
	}
	answerJSON(w, http.StatusOK, map[string]string{"registrationtoken": token})
	return nil
}

// begin opens a registration, or gives the one of that token a new code. undo is for a code that
// cannot be sent.
func (r *registrar) begin(email, token, from string) (_, code string, undo func(), err error) {
	now := r.server.mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	sameAddress, sameOrigin := 0, 0
	for _, other := range r.open {
		if other.email == email {
			sameAddress++
		}
		if other.from == from {
			sameOrigin++
		}
	}
	reg := r.open[token]
	switch {
	case token != "" && (reg == nil || reg.email != email):
		return "", "", nil, r.refuse(codeArguments, "registrationtoken: unknown, or of another address")
	case reg != nil && reg.tries >= codeTriesMost:
		return "", "", nil, r.refuse(codeSends, "three wrong codes, this registration is over")
	case reg != nil && (reg.sends >= codeSendsMost || now-reg.began < codeSendsApart):
		return "", "", nil, r.refuse(codeSends, "the code was sent too often, or a moment ago")
	case reg == nil && sameAddress >= sameAddressMost:
		return "", "", nil, r.refuse(codeSends, "codes were sent to this address too often, try again later")
	case reg == nil && (len(r.open) >= registrationsMax || sameOrigin >= registrationsMax/2):
		return "", "", nil, r.refuse(codeRegistrations, "too many registrations are going on, try again later")
	case reg == nil:
		token, reg = randomText(43), &registration{email: email, from: from}
		r.open[token] = reg
	}
	before := *reg
	reg.code = newCode()
	reg.began, reg.tries = now, 0
	reg.sends++
	return token, reg.code, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		before.tries += reg.tries // in the meantime
		if *reg = before; reg.sends == 0 {
			delete(r.open, token)
		}
	}, nil
}

// newCode returns a code that is easy to type: capitals and digits that do not look alike.
func newCode() string {
	code := make([]byte, codeLength)
	_, _ = rand.Read(code) // never fails
	for i, b := range code {
		code[i] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"[b&31]
	}
	return string(code)
}

// typed undoes what people do to a code when they type it.
var typed = strings.NewReplacer(" ", "", "-", "")

func (r *registrar) serveCode(w http.ResponseWriter, req *http.Request) error {
	values, err := r.read(w, req, 2, "registrationtoken", "emailcode")
	if err != nil {
		return err
	}
	email, err := r.redeem(values[0], values[1])
	if err != nil {
		return err
	}
	text, k := NewKey()
	account, err := r.give(email, k)
	if err != nil {
		return err
	}
	answerJSON(w, http.StatusOK, map[string]string{
		"accountid": account, "apikey": text,
		"apikeyname": "key of " + r.server.now().UTC().Format(time.DateOnly),
	})
	return nil
}

// give adds the key to the account of that address, and makes the account if there is none.
func (r *registrar) give(email string, k Key) (account string, err error) {
	r.giving.Lock()
	defer r.giving.Unlock()
	c := Account{ID: NewAccountID(), Email: email, Keys: []Key{k}}
	a := r.server.accounts.findEmail(email)
	if a != nil {
		c = a.with(k)
	}
	if err := r.keep(c); err != nil {
		r.server.log.Error("cannot keep an account", "err", err)
		return "", r.refuse(codeRegistrations, "the account could not be kept, begin again later")
	}
	if a == nil {
		return c.ID, r.server.accounts.add(c)
	}
	a.give(k)
	return c.ID, nil
}

// redeem ends the registration of that token if the code is right, and returns its address.
func (r *registrar) redeem(token, code string) (string, error) {
	now := r.server.mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := r.open[token]
	switch {
	case reg == nil:
		return "", r.refuse(codeToken, "registrationtoken: unknown")
	case reg.tries >= codeTriesMost:
		return "", r.refuse(codeTries, "emailcode: three wrong codes, this registration is over")
	case now-reg.began > codeLifetime:
		return "", r.refuse(codeTimeout, "emailcode: it was good for five minutes")
	case subtle.ConstantTimeCompare([]byte(strings.ToUpper(typed.Replace(code))), []byte(reg.code)) == 0:
		if reg.tries++; reg.tries == codeTriesMost {
			return "", r.refuse(codeTries, "emailcode: three wrong codes, this registration is over")
		}
		return "", r.refuse(codeWrongCode, "emailcode: wrong, %d tries are left", codeTriesMost-reg.tries)
	}
	delete(r.open, token)
	return reg.email, nil
}

// sweep forgets registrations long after their code was good, so that for a while a late one is
// told why.
func (r *registrar) sweep(now time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, reg := range r.open {
		if now-reg.began > 2*codeLifetime {
			delete(r.open, token)
		}
	}
}
