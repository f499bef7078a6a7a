package server

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Limits are what a server allows. Where it says so, 0 switches a limit off.
type Limits struct {
	// API_KEY_COUNT_MAX: keys of an account that registration gives; the newest replaces the oldest
	APIKeyCountMax  int
	APIKeyAgeMax    time.Duration // API_KEY_AGE_MAX: time without use after which a key is disabled; 0: never
	PortalsCountMax int           // PORTALS_COUNT_MAX: portals of an account
	ItemAgeMax      time.Duration // ITEM_AGE_MAX: older items are gone
	ItemCountMax    int           // ITEM_COUNT_MAX: items in an answer
	RingCapacity    int           // items that a portal holds
	// PAYLOAD_SIZE_MAX: bytes of a set, an answer or a line of a stream, and of a get unless it
	// takes more to name all portals; 65536 is the most
	PayloadSizeMax    int
	GetItemTimeout    time.Duration // GET_ITEM_TIMEOUT: the longest watch or stream; Python clients want less than 10 s
	LoginTimeout      time.Duration // LOGIN_TIMEOUT: least time between two logins with one key; 0: none
	SessionIdle       time.Duration // time without use after which a session ends
	RequestsPerSecond int           // requests per second and key; 0: no limit
	RequestsPerMonth  int           // requests per calendar month (UTC) and account; 0: no limit
	// bytes that an account takes in all: requests at work have half of it and then are refused,
	// sessions a quarter and then end, items the rest and then the oldest go
	AccountMemory int
	Connections   int // connections at a time, of [Server.Serve]; then strangers go, then idle ones
	// of them from one address, or IPv6 network of 64 bits; then one of its own goes; not from
	// loopback; 0: no limit
	ConnectionsEach int
}

// Open returns the limits for hosting it oneself: large bodies, a thousand portals,
// neither a rate nor a wait between logins.
func Open() Limits {
	l := Public()
	l.PortalsCountMax = 1000
	l.PayloadSizeMax = mostPayload
	l.LoginTimeout = 0
	l.RequestsPerSecond, l.RequestsPerMonth = 0, 0
	return l
}

// Public returns the limits that the public service documents.
func Public() Limits {
	return Limits{
		APIKeyCountMax:    10,
		APIKeyAgeMax:      90 * 24 * time.Hour,
		PortalsCountMax:   10,
		ItemAgeMax:        time.Hour,
		ItemCountMax:      1000,
		RingCapacity:      1000,
		PayloadSizeMax:    1024,
		GetItemTimeout:    5 * time.Second,
		LoginTimeout:      5 * time.Second,
		SessionIdle:       time.Minute,
		RequestsPerSecond: 20,
		RequestsPerMonth:  1_000_000,
		AccountMemory:     256 << 20,
		Connections:       8192,
		ConnectionsEach:   1024,
	}
}

// mostPayload is what the Python clients can read.
const mostPayload = 65536

// Check returns an error that names a limit which makes no sense.
func (l Limits) Check() error {
	for _, c := range []struct {
		name       string
		got, least int64
	}{
		{"API_KEY_COUNT_MAX", int64(l.APIKeyCountMax), 1},
		{"API_KEY_AGE_MAX", int64(l.APIKeyAgeMax), 0},
		{"PORTALS_COUNT_MAX", int64(l.PortalsCountMax), 1},
		{"ITEM_AGE_MAX", int64(l.ItemAgeMax), int64(time.Millisecond)},
		{"ITEM_COUNT_MAX", int64(l.ItemCountMax), 1},
		{"RING_CAPACITY", int64(l.RingCapacity), 1},
		{"PAYLOAD_SIZE_MAX", int64(l.PayloadSizeMax), 128},
		{"GET_ITEM_TIMEOUT", int64(l.GetItemTimeout), int64(time.Millisecond)},
		{"LOGIN_TIMEOUT", int64(l.LoginTimeout), 0},
		{"SESSION_IDLE", int64(l.SessionIdle), int64(time.Millisecond)},
		{"REQUESTS_PER_SECOND", int64(l.RequestsPerSecond), 0},
		{"REQUESTS_PER_MONTH", int64(l.RequestsPerMonth), 0},
		{"ACCOUNT_MEMORY", int64(l.AccountMemory), 1 << 20},
		{"CONNECTIONS", int64(l.Connections), 1},
		{"CONNECTIONS_PER_ADDRESS", int64(l.ConnectionsEach), 0},
	} {
		if c.got < c.least {
			return fmt.Errorf("%s is %d, and %d is the least", c.name, c.got, c.least)
		}
	}
	if l.PayloadSizeMax > mostPayload {
		return fmt.Errorf("PAYLOAD_SIZE_MAX is %d, and %d is the most: clients cannot read longer answers",
			l.PayloadSizeMax, mostPayload)
	}
	return nil
}

// announce is the header from which clients learn the limits.
func (l Limits) announce() string {
	text, _ := json.Marshal(wire.Limits{ // which can always be written
		PayloadSizeMax: l.PayloadSizeMax, PortalsCountMax: l.PortalsCountMax, RequestsPerSecond: l.RequestsPerSecond,
		ItemAgeMax: l.ItemAgeMax.Milliseconds(), GetItemTimeout: l.GetItemTimeout.Milliseconds(),
		LoginTimeout: l.LoginTimeout.Milliseconds(),
	})
	return string(text)
}
