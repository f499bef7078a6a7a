package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"net/http"
	"net/mail"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Mailer sends the code of a registration to an address.
type Mailer interface {
	SendCode(ctx context.Context, email, code string) error
}

// The rules of registrations.
const (
	codeLifetime     = 5 * time.Minute
	codeTriesMost    = 3
	codeSendsMost    = 3
	codeSendsApart   = 20 * time.Second
	registrationsMax = 100 // open at a time
	longestEmail     = 254 // RFC 5321
)

// registrar gives accounts and keys to those who can read mail to an address.
type registrar struct {
	server *Server
	mailer Mailer
	tell   func(Account)

	giving sync.Mutex // an address gets one account, and tell hears of its keys in their order

	mu   sync.Mutex // guards what follows
	open map[string]*registration
}

type registration struct {
	email string
	code  string
	began time.Duration // when the code was sent
	tries int
	sends int
}

func newRegistrar(s *Server, m Mailer, tell func(Account)) *registrar {
	if tell == nil {
		tell = func(Account) {}
	}
	return &registrar{server: s, mailer: m, tell: tell, open: make(map[string]*registration)}
}

func (r *registrar) refuse(code int, format string, args ...any) error {
	return &refusal{group: groupRegistration, code: code, text: fmt.Sprintf(format, args...)}
}

func (r *registrar) read(w http.ResponseWriter, req *http.Request, required int, names ...string) ([]string, error) {
	body, free, err := r.server.readBody(w, req, mostPayload)
	if err != nil {
		return nil, inGroup(err, groupRegistration, codeArguments)
	}
	defer free()
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
	if err != nil || len(values[0]) > longestEmail || address.Address != values[0] || !strings.Contains(values[0][strings.LastIndexByte(values[0], '@'):], ".") {
		return r.refuse(codeEmail, "email: there can be no such address")
	}
	token, reg, err := r.begin(address.Address, values[1])
	if err != nil {
		return err
	}
	if err := r.mailer.SendCode(req.Context(), reg.email, reg.code); err != nil {
		r.server.log.ErrorContext(req.Context(), "cannot send a registration code", "err", err)
		return r.refuse(codeSends, "the code could not be sent, try again later")
	}
	answer(w, http.StatusOK, wire.AppendTexts(nil, "registrationtoken", token))
	return nil
}

// begin opens a registration, or gives the one of that token a new code.
func (r *registrar) begin(email, token string) (string, registration, error) {
	now := r.server.mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := r.open[token]
	switch {
	case token != "" && (reg == nil || reg.email != email):
		return "", registration{}, r.refuse(codeArguments, "registrationtoken: unknown, or of another address")
	case reg != nil && reg.tries >= codeTriesMost:
		return "", registration{}, r.refuse(codeSends, "three wrong codes, this registration is over")
	case reg != nil && (reg.sends >= codeSendsMost || now-reg.began < codeSendsApart):
		return "", registration{}, r.refuse(codeSends, "the code was sent too often, or a moment ago")
	case reg == nil && len(r.open) >= registrationsMax:
		return "", registration{}, r.refuse(codeRegistrations, "too many registrations are going on, try again later")
	case reg == nil:
		token, reg = randomText(43), &registration{email: email}
		r.open[token] = reg
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", registration{}, err
	}
	reg.code = fmt.Sprintf("%06d", n.Int64())
	reg.began, reg.tries = now, 0
	reg.sends++
	return token, *reg, nil
}

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
	k.Name = "key of " + r.server.now().UTC().Format(time.DateOnly)
	account, err := r.give(email, k)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, wire.AppendTexts(nil, "accountid", account, "apikey", text, "apikeyname", k.Name))
	return nil
}

// give adds the key to the account of that address, and makes the account if there is none.
func (r *registrar) give(email string, k Key) (account string, err error) {
	r.giving.Lock()
	defer r.giving.Unlock()
	a := r.server.accounts.findEmail(email)
	if a == nil {
		c := Account{ID: NewAccountID(), Email: email, Keys: []Key{k}}
		if err := r.server.accounts.add(c); err != nil {
			return "", err
		}
		a = r.server.accounts.find(c.ID)
	} else {
		a.give(k)
	}
	r.tell(a.snapshot())
	return a.id, nil
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
	case subtle.ConstantTimeCompare([]byte(code), []byte(reg.code)) == 0:
		if reg.tries++; reg.tries == codeTriesMost {
			return "", r.refuse(codeTries, "emailcode: three wrong codes, this registration is over")
		}
		return "", r.refuse(codeWrongCode, "emailcode: wrong, %d tries are left", codeTriesMost-reg.tries)
	}
	delete(r.open, token)
	return reg.email, nil
}

// sweep forgets registrations long after their code was good, so that for a while a late one is told why.
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
