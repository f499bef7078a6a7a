package server

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Account owns portals. All its keys reach the same ones.
type Account struct {
	ID    string // AC and 4 to 30 digits
	Email string // of whom registration gave it to; empty for others
	Keys  []Key
}

// Key is an API key as a server keeps it: hashed.
type Key struct{ Hash [sha256.Size]byte }

const hashPrefix = "sha256:"

// ParseKey reads a key: 32 letters and digits, or sha256: and the 64 hexadecimal digits of its hash.
// An error does not show it.
func ParseKey(text string) (Key, error) {
	if digits, hashed := strings.CutPrefix(text, hashPrefix); hashed {
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size {
			return Key{}, errors.New("sha256: is followed by 64 hexadecimal digits")
		}
		return Key{Hash: [sha256.Size]byte(sum)}, nil
	}
	if bad := wire.CheckAPIKey(text); bad != "" {
		return Key{}, errors.New(bad + ", or is sha256: and the hash of one; xrtcbridge server keys new makes one")
	}
	return Key{Hash: sha256.Sum256([]byte(text))}, nil
}

// String returns the key in its hashed form, which ParseKey reads.
func (k Key) String() string { return hashPrefix + hex.EncodeToString(k.Hash[:]) }

// MarshalText returns what String returns.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// NewKey makes an API key and returns it with what a server keeps of it.
func NewKey() (text string, key Key) {
	text = randomText(32)
	return text, Key{Hash: sha256.Sum256([]byte(text))}
}

// NewAccountID makes an account id.
func NewAccountID() string {
	id := []byte("AC")
	for _, c := range randomText(16) {
		id = append(id, '0'+byte(c%10))
	}
	return string(id)
}

// randomText returns n random letters and digits.
func randomText(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 0, n)
	var random [64]byte
	for len(text) < n {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if b &= 63; int(b) < len(letters) && len(text) < n {
				text = append(text, letters[b])
			}
		}
	}
	return string(text)
}

// accounts are all accounts.
type accounts struct {
	server *Server
	dummy  [sha256.Size]byte // what keys of unknown accounts are compared with

	mu   sync.RWMutex // guards what follows
	byID map[string]*account
}

// account is an account at work.
type account struct {
	server *Server
	id     string
	email  string

	keysMu sync.Mutex // guards keys
	keys   []*key

	quota quota

	work    atomic.Int64 // bytes that requests take while they are answered
	reading atomic.Int64 // bytes of sessions
	bytes   atomic.Int64 // bytes of portals and what is in them; changed under mu

	mu      sync.Mutex // guards what follows, portals and positions of sessions included
	seq     uint64
	lastTS  int64
	portals map[string]*portal
	byUse   *list.List       // of them, the one that was written last behind
	gone    map[string]count // where portals that are gone stopped counting
	waiting map[string]map[*waiter]struct{}
}

// key is an API key at work.
type key struct {
	Key
	account *account
	used    atomic.Int64 // when it was, as a time.Duration

	mu     sync.Mutex    // guards what follows
	login  time.Duration // the last successful one
	logins bool          // there was one
	bucket bucket
}

func newKey(a *account, k Key) *key {
	n := &key{Key: k, account: a}
	n.used.Store(int64(a.server.mono()))
	return n
}

// CheckAccountID returns an error unless id is AC and 4 to 30 digits.
func CheckAccountID(id string) error {
	if bad := wire.CheckAccountID(id); bad != "" {
		return fmt.Errorf("account %q: %s", id, bad)
	}
	return nil
}

func newAccounts(s *Server) *accounts {
	a := &accounts{server: s, byID: make(map[string]*account)}
	a.dummy = sha256.Sum256([]byte(randomText(32)))
	return a
}

func (as *accounts) add(c Account) error {
	if err := CheckAccountID(c.ID); err != nil {
		return err
	}
	if len(c.Keys) == 0 {
		return fmt.Errorf("account %s has no key", c.ID)
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.byID[c.ID] != nil {
		return fmt.Errorf("account %s is there twice", c.ID)
	}
	a := &account{
		server: as.server, id: c.ID, email: c.Email,
		portals: make(map[string]*portal),
		byUse:   list.New(),
		gone:    make(map[string]count),
		waiting: make(map[string]map[*waiter]struct{}),
	}
	for _, k := range c.Keys {
		a.keys = append(a.keys, newKey(a, k))
	}
	as.byID[c.ID] = a
	return nil
}

func (as *accounts) find(id string) *account {
	as.mu.RLock()
	defer as.mu.RUnlock()
	return as.byID[id]
}

func (as *accounts) findEmail(email string) *account {
	as.mu.RLock()
	defer as.mu.RUnlock()
	for _, a := range as.byID {
		if a.email == email {
			return a
		}
	}
	return nil
}

func (as *accounts) sweep(now time.Duration) {
	as.mu.RLock()
	defer as.mu.RUnlock()
	for _, a := range as.byID {
		a.mu.Lock()
		a.expireAll(now)
		a.mu.Unlock()
	}
}

// match returns the key of the account with that text, nil if there is none or it is disabled. It takes the same
// time whatever is wrong.
func (as *accounts) match(id, text string) *key {
	a := as.find(id)
	sum := sha256.Sum256([]byte(text))
	if a == nil {
		subtle.ConstantTimeCompare(sum[:], as.dummy[:])
		return nil
	}
	a.keysMu.Lock()
	defer a.keysMu.Unlock()
	var found *key
	for _, k := range a.keys {
		if subtle.ConstantTimeCompare(sum[:], k.Hash[:]) == 1 {
			found = k
		}
	}
	if found != nil && found.disabled() {
		return nil
	}
	return found
}

// disabled reports whether nobody has used the key for too long.
func (k *key) disabled() bool {
	s := k.account.server
	return s.limits.APIKeyAgeMax > 0 && s.mono()-time.Duration(k.used.Load()) > s.limits.APIKeyAgeMax
}

// give adds a key, in place of the oldest if there are too many.
func (a *account) give(k Key) {
	a.keysMu.Lock()
	defer a.keysMu.Unlock()
	if over := len(a.keys) + 1 - a.server.limits.APIKeyCountMax; over > 0 {
		a.keys = slices.Delete(a.keys, 0, over)
	}
	a.keys = append(a.keys, newKey(a, k))
}

// with returns the account as configuration, as it will be when the key is given.
func (a *account) with(k Key) Account {
	a.keysMu.Lock()
	defer a.keysMu.Unlock()
	c := Account{ID: a.id, Email: a.email}
	for _, old := range a.keys[max(0, len(a.keys)+1-a.server.limits.APIKeyCountMax):] {
		c.Keys = append(c.Keys, old.Key)
	}
	c.Keys = append(c.Keys, k)
	return c
}
