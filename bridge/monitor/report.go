package monitor

import (
	"fmt"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

func (p *pipeline) say(s engine.Situation, now time.Time) Pipeline {
	c := p.counts(s.Pipeline)
	l := Ledger(c.Ledger)
	in, out := p.bytes()
	said := Pipeline{
		Name: p.name, State: State(s.Phase), Since: s.Since, Optional: s.Pipeline.Optional, Restarts: c.Restarts,
		Ledger: l, Owed: l.InFlight + l.Buffered, Reasons: reasons(c.Drops, l), Returned: Returned(c.Returned),
		BytesIn: in, BytesOut: out,
		In: p.in.rates(total{now, l.Received, in}), Out: p.out.rates(total{now, l.Delivered, out}),
	}
	if s.Err != nil {
		said.Reason = s.Err.Error()
	}
	if said.State == Waiting {
		said.Again = &s.Again
	}
	if n, size := s.Pipeline.Progress(); size > 0 {
		said.Progress = &Progress{Done: n, Total: size}
		if r := p.read.rates(done(s.Pipeline, now)).Bytes5m; r > 0 && n < size {
			left := float64(size-n) / r
			said.Progress.Left = &left
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	said.Errors = slices.Clone(p.errors)
	for _, e := range p.ends {
		said.Ends = append(said.Ends, e.say(now))
		oldest := e.debts.since()
		switch last := e.lastTime(); {
		case e.shape.Kind == "source" && later(last, said.LastIn):
			said.LastIn = last
		case e.shape.Kind == "sink" && later(last, said.LastOut):
			said.LastOut = last
		}
		if e.shape.Kind == "buffer" {
			oldest = s.Pipeline.Oldest()
		}
		if !oldest.IsZero() && (said.Oldest == nil || oldest.Before(*said.Oldest)) {
			said.Oldest = &oldest
		}
	}
	since := p.sinceWatched(said.Ends)
	if said.State == Running {
		said.Since = p.wellSince(said.Since, said.Ends)
	}
	said.judge(since, s.Pipeline.StaleAfter, p.awaited(said.Since), now)
	p.explain(&said, s, since, now)
	return said
}

// done returns how many bytes of inputs that have an end were read. They are those on the disk,
// which those of payloads are not: there are ends of lines, and what is packed.
func done(p *engine.Pipeline, now time.Time) total {
	n, _ := p.Progress()
	return total{at: now, bytes: uint64(max(0, n))}
}

// wellSince returns since when a pipeline that runs lacks nothing, if it does not: its ends were up
// again later than the engine had them open at first, or something came late. The lock must be
// held.
func (p *pipeline) wellSince(since time.Time, ends []End) time.Time {
	if p.fresh.After(since) {
		since = p.fresh
	}
	for _, e := range ends {
		if e.State == EndUp && e.Kind != "dead_letter" && e.Since.After(since) {
			since = e.Since
		}
	}
	return since
}

// comes notes that a source has read something, before that is counted.
func (p *pipeline) comes(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stale <= 0 {
		return
	}
	if awaited := p.awaited(time.Time{}); !awaited.IsZero() && now.Sub(awaited) > p.stale {
		p.fresh = now
	}
}

// awaited returns since when every source that is open waits for messages; zero: they do not, or
// none is open. The lock must be held.
func (p *pipeline) awaited(since time.Time) time.Time {
	open := false
	for _, e := range p.ends {
		if e.shape.Kind != "source" {
			continue
		}
		e.mu.Lock()
		state, at := e.state, e.since
		e.mu.Unlock()
		if state != EndUp {
			continue
		}
		if e.asked.Load() == 0 {
			return time.Time{} // what it has is not wanted now
		}
		open = true
		for _, t := range []*time.Time{&at, e.lastTime()} {
			if t != nil && t.After(since) {
				since = *t
			}
		}
	}
	if !open {
		return time.Time{}
	}
	return since
}

func later(a, b *time.Time) bool { return a != nil && (b == nil || a.After(*b)) }

func reasons(d engine.Drops, l Ledger) (all []Count) {
	for _, c := range []Count{
		{"dropped", "on_error", d.OnError},
		{"dropped", "sink", d.Sink},
		{"dropped", "source", d.Source},
		{"dropped", "buffer", d.Buffer},
		{"dropped", "stop", d.Stop},
		{"dead_lettered", "on_error", l.DeadLettered},
	} {
		if c.N > 0 {
			all = append(all, c)
		}
	}
	return all
}

// sinceWatched returns what has come of the ends since the pipeline is what it is: counts go on when
// it is exchanged for another one, which may be well where that was not, or not where it was. The lock
// must be held.
func (p *pipeline) sinceWatched(said []End) []sofar {
	all := make([]sofar, len(said))
	for i, e := range p.ends {
		all[i] = sofar{said[i], e.given.Load() - e.before.given}
		all[i].Messages -= e.before.Messages
		all[i].Refused -= e.before.Refused
		all[i].Passed -= e.before.Passed
		all[i].Opened -= e.before.Opened
	}
	return all
}

// judge says more of a pipeline that runs: what an end lacks, and that nothing comes. Sources are
// opened last, when all else is open.
func (p *Pipeline) judge(ends []sofar, stale time.Duration, awaited, now time.Time) {
	if p.State == Paused && p.Reason == "" {
		p.Reason = "it was paused: xrtcbridge pipeline resume " + p.Name + " has it go on"
	}
	if p.State != Running && p.State != Starting {
		return
	}
	fresh, opens := true, p.State == Running
	for _, e := range ends {
		awaited := e.State == EndIdle && e.Kind == "source" && opens
		if e.State == EndUp || e.State == EndIdle && !awaited || e.State == EndClosed || e.Kind == "dead_letter" {
			continue
		}
		if p.State == Running {
			p.State = Degraded
		}
		fresh = fresh && e.Opened == 0 && !e.Optional
		if p.Reason == "" || e.Since.Before(p.Since) {
			p.Since = e.Since
		}
		if p.Reason == "" {
			p.Reason = fmt.Sprintf("%s %s is %s", e.Type, e.Instance, e.State)
			if e.Reason != "" {
				p.Reason += ": " + e.Reason
			}
		}
	}
	if p.State == Degraded && fresh {
		p.State = Starting
	}
	if p.State == Running && stale > 0 && !awaited.IsZero() && now.Sub(awaited) > stale {
		p.State, p.Since = Degraded, awaited.Add(stale)
		p.Reason = fmt.Sprintf("nothing has come for %v, and something should every %v (stale_after): "+
			"see whether anything is sent to %s",
			now.Sub(awaited).Round(time.Second), stale, p.list("source"))
	}
}

func (e *end) lastTime() *time.Time {
	n := e.last.Load()
	if n == 0 {
		return nil
	}
	t := time.Unix(0, int64(n))
	return &t
}

// sofar is what has come of an end.
type sofar struct {
	End
	given uint64 // to a sink, before it has taken them
}

// counts returns those of the end, in its shape.
func (e *end) counts() sofar {
	said := sofar{End: e.shape}
	said.Messages, said.Bytes, said.Refused = e.messages.Load(), e.bytes.Load(), e.refused.Load()
	said.Passed, said.Opened, said.given = e.passed.Load(), e.opened.Load(), e.given.Load()
	return said
}

func (e *end) say(now time.Time) End {
	said := e.counts().End
	said.Last, said.Rates = e.lastTime(), e.past.rates(e.total(now))
	e.mu.Lock()
	defer e.mu.Unlock()
	said.State, said.Since = e.state, e.since
	if e.reason != nil && e.state != EndUp {
		said.Reason, said.Permanent = e.reason.Error(), bridge.IsPermanent(e.reason)
	}
	return said
}
