package server

import (
	"net/http"
	"time"
)

// What things take beside their texts, in bytes, rounded up; TestS43 compares them with what the
// process takes.
const (
	portalSize   = 512
	goneSize     = 160 // a portal that is remembered after it went
	sessionSize  = 1 << 10
	positionSize = 128      // of a session in a portal
	requestSize  = 32 << 10 // a request with its connection
	waitingSize  = 512      // a portal that a get waits for
)

// An account takes AccountMemory at the most. Requests at work have half of that, and then are
// refused; sessions have a quarter, and then those used least recently end; the rest, and what of
// these two nobody needs, is for items, of which the oldest go.

var errMemory = &refusal{
	group: groupSystem, code: codeRate, retryAfter: time.Second,
	text: "too many requests of this account at a time for the memory that it has",
}

// take takes memory for a request at work, or refuses it. giveBack gives it back.
func (a *account) take(bytes int) error {
	if a.work.Add(int64(bytes)) > int64(a.server.limits.AccountMemory/2) {
		a.giveBack(bytes)
		return errMemory
	}
	if a.bytes.Load() > a.room() {
		a.mu.Lock()
		a.makeRoom()
		a.mu.Unlock()
	}
	return nil
}

// room is what is left for portals and their items.
func (a *account) room() int64 {
	return int64(a.server.limits.AccountMemory) - a.work.Load() - a.reading.Load()
}

func (a *account) giveBack(bytes int) { a.work.Add(-int64(bytes)) }

// workSize is what a request takes, however slowly its body comes.
func workSize(r *http.Request) int {
	if r.ContentLength < 0 || r.ContentLength > mostPayload {
		return requestSize + mostPayload
	}
	return requestSize + int(r.ContentLength)
}
