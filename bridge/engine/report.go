package engine

import (
	"log/slog"
	"strings"
	"time"
)

// mostReports is how many reasons of a place are told apart in the log. What is more has a line
// together: texts of others may differ in each message.
const mostReports = 8

// report is what the log is to say of refusals that are alike.
type report struct {
	kind   string    // see kindOf; empty: all that have no report of their own
	logged time.Time // the last line
	n      int       // messages since

	log   *slog.Logger // what follows is about the last of them
	what  string
	attrs []any
	last  *refusal // nil: it is said above
}

// tell logs what became of messages that were refused, for each reason at most one line a second;
// the rest at the end.
func (p *place) tell(refused []refusal, what string) {
	var same *report // that of the reason before, which most share
	var before string
	for i := range refused {
		if reason := refused[i].failure.err.Error(); same == nil || reason != before {
			same, before = p.report(reason), reason
		}
		same.n, same.last = same.n+1, &refused[i]
	}
	for _, r := range p.reports {
		if r.last == nil {
			continue
		}
		r.log, r.what = p.env.Logger, what
		if at := p.identity.at(r.last.message); at != "" {
			r.log = r.log.With("at", at)
		}
		r.attrs = []any{
			"err", clipped(r.last.failure.err.Error(), mostReason),
			"topic", strings.Clone(clipped(r.last.message.Topic, mostTopic)), "attempts", r.last.failure.attempts,
		}
		if r.last = nil; time.Since(r.logged) >= time.Second {
			r.say()
		}
	}
}

// tellRest logs what tell has kept back.
func (p *place) tellRest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reports {
		if r.n > 0 {
			r.say()
		}
	}
}

func (r *report) say() {
	r.log.Warn(r.what, append(r.attrs, "n", r.n)...) //nolint:sloglint // one of two texts
	r.logged, r.n = time.Now(), 0
}

// report returns that of a reason.
func (p *place) report(reason string) *report {
	p.alike = kindOf(p.alike[:0], reason)
	for i, r := range p.reports {
		if r.kind == string(p.alike) || i == mostReports {
			return r
		}
	}
	r := new(report)
	if len(p.reports) < mostReports {
		r.kind = string(p.alike)
	}
	p.reports = append(p.reports, r)
	return r
}

// kindOf appends what a reason is like: without the values in it, which are numbers and what is in
// quotes.
func kindOf(kind []byte, reason string) []byte {
	quote := byte(0)
	for i := range min(len(reason), mostReason) {
		switch c := reason[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0 || '0' <= c && c <= '9':
		case c == '"' || c == '`':
			quote = c
		default:
			kind = append(kind, c)
		}
	}
	return kind
}
