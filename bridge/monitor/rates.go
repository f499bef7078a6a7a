package monitor

import "time"

// total is how much there was at some time.
type total struct {
	at              time.Time
	messages, bytes uint64
}

// history is a few totals of the past, in steps of a second for the last ten, and of ten seconds
// for the last five minutes.
type history struct {
	seconds, tens [31]total
	n             int // times it was told
}

// tell notes the total of now; it is called once a second.
func (h *history) tell(t total) {
	h.seconds[h.n%len(h.seconds)] = t
	if h.n%10 == 0 {
		h.tens[h.n/10%len(h.tens)] = t
	}
	h.n++
}

// rates returns those up to now.
func (h *history) rates(now total) (r Rates) {
	r.Messages, r.Bytes = since(h.before(10), now)
	r.Messages5m, r.Bytes5m = since(h.before(300), now)
	return r
}

// before returns the total of so many seconds ago, or the oldest one that is known.
func (h *history) before(seconds int) total {
	switch k := max(0, h.n-seconds); {
	case h.n == 0:
		return total{}
	case h.n-k < len(h.seconds):
		return h.seconds[k%len(h.seconds)]
	default:
		return h.tens[(k+9)/10%len(h.tens)]
	}
}

// since returns the rates between two totals.
func since(a, b total) (messages, bytes float64) {
	if s := b.at.Sub(a.at).Seconds(); !a.at.IsZero() && s > 0 && b.messages >= a.messages && b.bytes >= a.bytes {
		return float64(b.messages-a.messages) / s, float64(b.bytes-a.bytes) / s
	}
	return 0, 0
}
