package monitor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// How long something takes before it is noted, and how many messages a step that has let some pass
// leaves out one after the other.
const (
	patience = 10 * time.Second
	mostDry  = 1000
)

// explain notes what keeps a pipeline that runs from delivering, or one that is to stop from that,
// as far as its state does not say so. The lock must be held.
func (p *pipeline) explain(said *Pipeline, s engine.Situation, since []sofar, now time.Time) {
	note := func(format string, args ...any) { said.Notes = append(said.Notes, fmt.Sprintf(format, args...)) }
	down := func(e sofar) bool {
		return e.State == EndDown && (e.Kind == "sink" && !e.Optional || e.Kind == "step")
	}
	switch said.State {
	case Running, Degraded, Starting:
	case Draining:
		late := now.Sub(said.Since) > cmp.Or(s.Pipeline.DrainTimeout, engine.DefaultDrainTimeout)+patience
		for i, e := range p.ends { // which are closed at once, also while they work
			if at := since[i]; late && (at.State == EndUp || !e.working.since().IsZero()) {
				note("it was to stop at %s, and %s %s does not let go: it goes on, or away, when that does or the bridge "+
					"is started again", clock(said.Since), at.Type, at.Instance)
			}
		}
		return
	default:
		return
	}
	if s.Phase == engine.Starting && s.Pipeline.Buffer == nil && slices.ContainsFunc(since, down) {
		note("nothing is read yet: %s is opened when all behind it is open; with buffer: disk it would be at once; "+
			"what is sent before is there then only if the other system keeps it",
			said.list("source"))
	}
	for i, e := range p.ends {
		at := &since[i]
		who := at.Type + " " + at.Instance
		warned := p.warned(e, &at.End)
		if at.State != EndUp {
			if at.Kind == "dead_letter" && at.State == EndDown {
				note("dead letters cannot be written, and what was refused waits for that: %s: %s", who, at.Reason)
			}
			for _, w := range warned {
				if !strings.Contains(at.Reason, w) {
					note("%s: %s", who, w)
				}
			}
			continue
		}
		busy := e.working.since()
		long := !busy.IsZero() && now.Sub(busy) >= patience
		switch at.Kind {
		case "source":
			if at.Messages == 0 && e.asked.Load() > 0 && (now.Sub(at.Since) >= patience || len(warned) > 0) {
				why := "see whether anything is sent to what it reads"
				if len(warned) > 0 {
					why = warned[0]
				}
				note("%s is open, and nothing has come since %s: %s", who, clock(at.Since), why)
			}
		case "buffer":
			if long {
				note("%s is full since %s, and the sources wait: it is emptied as fast as %s takes what is in it; "+
					"max_bytes gives it more room, when_full: drop_oldest keeps the newest", who, clock(busy), said.list("sink"))
			}
		case "step":
			if long {
				note("%s works at the same messages since %s, and nothing passes it meanwhile", who, clock(busy))
			}
			if dry, since := e.dried(); dry > 0 && !e.holds && (at.Passed == 0 || dry >= mostDry) {
				note("%s has got %s since %s and let none of them pass: see what they are like, and what it asks for",
					who, bridge.Plural(dry, "message"), clock(since))
			}
		case "sink", "dead_letter":
			if long {
				note("%s has not answered for what it got at %s, and more waits for that: it is slow, or hangs", who, clock(busy))
			}
		}
	}
	if said.Ledger.Filtered > 0 {
		astray(since, note)
	}
}

// astray notes places where messages come, and none is for any of what follows.
func astray(ends []sofar, note func(string, ...any)) {
	var told []string
	for i := range ends {
		after := ends[i].After
		key := strings.Join(after, " ")
		if len(after) == 0 || slices.Contains(told, key) {
			continue
		}
		told = append(told, key)
		var came, got uint64
		var next []string
		for k := range ends {
			at := &ends[k]
			switch {
			case slices.Contains(after, at.Instance) && at.Kind == "source":
				came += at.Messages - min(at.Messages, at.Refused)
			case slices.Contains(after, at.Instance):
				came += at.Passed
			case slices.Equal(at.After, after):
				got += at.Messages + at.Refused + at.given
				next = append(next, at.Type+" "+at.Instance)
			}
		}
		if came > 0 && got == 0 {
			note("%s came out of %s, and none was for %s: see the when of each, and what the messages are like",
				bridge.Plural(came, "message"), strings.Join(after, ", "), strings.Join(next, ", "))
		}
	}
}

// warned returns what went wrong at an end since it last worked, newest first: of one that is up,
// since that was being opened. The lock must be held.
func (p *pipeline) warned(end *end, at *End) (all []string) {
	var began time.Time
	if at.State == EndUp {
		end.mu.Lock()
		began = end.began
		end.mu.Unlock()
	}
	for _, e := range p.errors {
		if e.Instance == at.Instance && (at.Last == nil || e.At.After(*at.Last)) && !e.At.Before(began) &&
			!slices.Contains(all, e.Text) && len(all) < 3 {
			all = append(all, e.Text)
		}
	}
	return all
}

// dried returns how many messages a step got since it has passed one, and when the first of them
// came.
func (e *end) dried() (uint64, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dry, e.drySince
}

// list names the ends of a kind.
func (p *Pipeline) list(kind string) string {
	var all []string
	for _, e := range p.Ends {
		if e.Kind == kind {
			all = append(all, e.Type+" "+e.Instance)
		}
	}
	return strings.Join(all, ", ")
}

func clock(t time.Time) string { return t.Format(time.DateTime) }
