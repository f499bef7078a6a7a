package simulation

import (
	"fmt"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// owed returns what of a message of a source is not where it belongs yet; empty: nothing.
func (w *world) owed(id string, source int) string {
	name := placeName("sim-from", source)
	if !chance(w.Seed, name, "refuse", id, w.Sources[source].Refuse) {
		return w.owedAt(w.root(), 0, id)
	}
	// A batch that comes with an error has no refusals, so that a message may be refused the one
	// time and not the other.
	why := w.owedLetter(name, id)
	if why != "" && len(w.Sources[source].Errors) > 0 {
		return w.owedAt(w.root(), 0, id)
	}
	return why
}

func (w *world) root() *spot { return w.nodes[0] }

func (w *world) owedLetter(place, id string) string {
	if !w.Letters || w.letters[place][id] {
		return ""
	}
	return fmt.Sprintf("there is no letter of %s about %s", place, id)
}

// owedAt returns what is owed of a message that has come to the i-th step of a branch.
func (w *world) owedAt(p *spot, i int, id string) string {
	if i < len(p.next) {
		s := p.next[i]
		switch {
		case w.refusedAsPoison(s, id):
			return w.owedLetterAny(p, s.name, id)
		case w.mayBlame(s, id) && w.owedLetterAny(p, s.name, id) == "":
			return ""
		case chance(w.Seed, s.name, "drop", id, s.step.Drop):
			return ""
		case chance(w.Seed, s.name, "refuse", id, s.step.Refuse):
			return w.owedLetterAny(p, s.name, id)
		case s.step.Window > 0:
			why := fmt.Sprintf("%s holds %s", s.name, id)
			for _, m := range s.made[id] {
				if why = w.owedAt(p, i+1, m); why == "" {
					return ""
				}
			}
			return why
		case w.stepSplits(s, id):
			for k := range 3 {
				if why := w.owedAt(p, i+1, fmt.Sprintf("%s.%d", id, k)); why != "" {
					return why
				}
			}
			return ""
		}
		return w.owedAt(p, i+1, id)
	}
	switch p.plan.Mode {
	case "sink":
		switch {
		case chance(w.Seed, p.name, "refuse", id, p.plan.Refuse):
			return w.owedLetterAny(p, p.name, id)
		case chance(w.Seed, p.name, "omit", id, p.plan.Omit), p.taken[id] > 0:
			return ""
		case w.mayGiveUp(p, id) && (!w.Letters || w.letters[p.name][id] || p.within):
			return ""
		}
		return fmt.Sprintf("%s has not come to %s", id, p.name)
	case "all":
		for _, c := range p.inner {
			enters, broken := w.enters(c, id)
			if broken {
				if why := w.owedLetterAny(p, gate(c), id); why != "" {
					return why
				}
			}
			if enters {
				if why := w.owedAt(c, 0, id); why != "" {
					return why
				}
			}
		}
		return ""
	case "route":
		for _, c := range p.inner {
			enters, broken := w.enters(c, id)
			if broken {
				return w.owedLetterAny(p, modeName(p), id)
			}
			if enters {
				return w.owedAt(c, 0, id)
			}
		}
		return ""
	}
	// Of any and share one has it; or it is for none, or refused by all.
	why, applicable := "", false
	refused := p.plan.Mode == "any"
	for _, c := range p.inner {
		enters, broken := w.enters(c, id)
		if broken {
			applicable = true
			continue
		}
		if !enters {
			continue
		}
		applicable = true
		if why = w.owedAt(c, 0, id); why == "" && (p.plan.Mode == "share" || !w.refusedIn(c, id, true)) {
			return ""
		}
		refused = refused && w.refusedIn(c, id, false)
	}
	if !applicable {
		return ""
	}
	if p.plan.Mode == "any" && (refused || w.mayGiveUp(p, id)) {
		return w.owedLetterAny(p, modeName(p), id)
	}
	if why == "" {
		why = fmt.Sprintf("nobody in %s has %s", modeName(p), id)
	}
	return why
}

// owedLetterAny: in a branch of any nobody writes letters but the outermost one, and it is enough
// that another branch has the message.
func (w *world) owedLetterAny(p *spot, place, id string) string {
	if p.within {
		return ""
	}
	return w.owedLetter(place, id)
}

// refusedIn reports whether the branch, within one of any, refuses a message or something that is
// made of it: surely, or maybe since only the engine knows which branch of share it went to.
func (w *world) refusedIn(p *spot, id string, surely bool) bool { return w.refusedAt(p, 0, id, surely) }

func (w *world) refusedAt(p *spot, i int, id string, surely bool) bool {
	if i < len(p.next) {
		s := p.next[i]
		switch {
		case w.refusedAsPoison(s, id):
			return true
		case chance(w.Seed, s.name, "drop", id, s.step.Drop):
			return false
		case chance(w.Seed, s.name, "refuse", id, s.step.Refuse):
			return true
		case w.stepSplits(s, id):
			for k := range 3 {
				if w.refusedAt(p, i+1, fmt.Sprintf("%s.%d", id, k), surely) {
					return true
				}
			}
			return false
		}
		return w.refusedAt(p, i+1, id, surely)
	}
	some := false
	switch p.plan.Mode {
	case "sink":
		return chance(w.Seed, p.name, "refuse", id, p.plan.Refuse)
	case "all":
		for _, c := range p.inner {
			enters, broken := w.enters(c, id)
			some = some || broken || enters && w.refusedAt(c, 0, id, surely)
		}
		return some
	case "route":
		for _, c := range p.inner {
			enters, broken := w.enters(c, id)
			if broken {
				return true
			}
			if enters {
				return w.refusedAt(c, 0, id, surely)
			}
		}
		return false
	case "share":
		every := true
		for _, c := range p.inner {
			refuses := w.refusedAt(c, 0, id, surely)
			some, every = some || refuses, every && refuses
		}
		return every || some && !surely
	}
	for _, c := range p.inner {
		enters, broken := w.enters(c, id)
		if enters && !broken && !w.refusedAt(c, 0, id, surely) {
			return false
		}
		some = some || enters || broken
	}
	return some
}

func (w *world) stepSplits(s *spot, id string) bool { return (&step{world: w, spot: s}).splits(id) }

// refusedAsPoison reports whether a message is surely refused, and it alone, since a step fails at
// it as often as it may.
func (w *world) refusedAsPoison(s *spot, id string) bool { return w.Tries > 0 && w.poisons(s, id) }

// mayBlame reports whether a step has failed often enough at a message, and nothing beside it, for
// that to be refused.
func (w *world) mayBlame(s *spot, id string) bool { return w.Tries > 0 && s.failed[id] >= w.Tries }

// mayGiveUp reports whether a message may be given up after so many tries: if it ends the
// connection of a sink in the branch, or if that fails by itself now and then.
func (w *world) mayGiveUp(p *spot, id string) bool {
	if w.Tries == 0 {
		return false
	}
	if p.plan.Mode == "sink" && (len(p.plan.Breaks) > 0 || p.within && p.plan.Poison > 0 || // be it what a step made of it
		chance(w.Seed, p.name, "poison", id, p.plan.Poison)) {
		return true
	}
	return slices.ContainsFunc(p.next, func(s *spot) bool { return w.mayBlame(s, id) }) ||
		slices.ContainsFunc(p.inner, func(c *spot) bool { return w.mayGiveUp(c, id) })
}

func (w *world) enters(p *spot, id string) (enters, broken bool) {
	if p.plan.When == 100 {
		return true, false
	}
	if chance(w.Seed, p.name, "broken", id, p.plan.Broken) {
		return false, true
	}
	return chance(w.Seed, p.name, "when", id, p.plan.When), false
}

// modeName is what a branch with others in it is called in letters, and gate its condition.
func modeName(p *spot) string {
	if p.plan.Mode == "sink" {
		return p.name
	}
	return p.name + "-" + p.plan.Mode
}

func gate(p *spot) string { return modeName(p) + "-when" }

// verdict judges the end: everything is where it belongs, and nothing anywhere else.
func (w *world) verdict() {
	legal := make(map[string]map[string]bool)
	for i, s := range w.Sources {
		for n := range s.Arrivals {
			id := fmt.Sprintf("s%d-%d", i, n)
			if why := w.owed(id, i); why != "" {
				w.wrong("%s was lost: %s", id, why)
			}
			name := placeName("sim-from", i)
			if chance(w.Seed, name, "refuse", id, s.Refuse) {
				allow(legal, name, id)
				if len(s.Errors) == 0 {
					continue
				}
			}
			w.allowAt(legal, w.root(), 0, id)
		}
	}
	for _, p := range w.nodes {
		for id := range p.taken {
			if !legal[p.name][id] {
				w.wrong("%s came to %s, where it does not belong", id, p.name)
			}
		}
	}
	for place, ids := range w.letters {
		for id := range ids {
			if !legal[place][id] {
				w.wrong("there is a letter of %s about %s, which does not belong there", place, id)
			}
		}
	}
}

func allow(legal map[string]map[string]bool, place, id string) {
	if legal[place] == nil {
		legal[place] = make(map[string]bool)
	}
	legal[place][id] = true
}

// allowAt notes all places where a message may be, and what is made of it.
func (w *world) allowAt(legal map[string]map[string]bool, p *spot, i int, id string) {
	if i < len(p.next) {
		s := p.next[i]
		if w.mayBlame(s, id) {
			allow(legal, s.name, id)
		}
		switch {
		case w.refusedAsPoison(s, id):
			allow(legal, s.name, id)
		case chance(w.Seed, s.name, "drop", id, s.step.Drop):
		case chance(w.Seed, s.name, "refuse", id, s.step.Refuse):
			allow(legal, s.name, id)
		case s.step.Window > 0:
			for _, m := range s.made[id] {
				w.allowAt(legal, p, i+1, m)
			}
		case w.stepSplits(s, id):
			for k := range 3 {
				w.allowAt(legal, p, i+1, fmt.Sprintf("%s.%d", id, k))
			}
		default:
			w.allowAt(legal, p, i+1, id)
		}
		return
	}
	if p.plan.Mode == "any" {
		allow(legal, modeName(p), id)
	}
	if p.plan.Mode == "sink" {
		allow(legal, p.name, id)
	}
	for _, c := range p.inner {
		enters, broken := w.enters(c, id)
		if broken {
			allow(legal, gate(c), id)
			allow(legal, modeName(p), id)
			if p.plan.Mode == "route" {
				return
			}
		}
		if enters {
			w.allowAt(legal, c, 0, id)
			if p.plan.Mode == "route" {
				return
			}
		}
	}
}

// outcome of a message, as the ledger counts it; of several the greatest counts.
const (
	filtered = iota
	merged
	delivered
	dead
	droppedOut
)

// count adds what became of a message to the ledger of a run in which nothing was given back, and
// returns its own outcome. exact is false if it depends on what only the engine knows.
func (w *world) count(l *engine.Ledger, p *spot, i int, id string) (out int, exact bool) {
	if i < len(p.next) {
		s := p.next[i]
		switch {
		case w.refusedAsPoison(s, id):
			return w.refusedOut(), true
		case chance(w.Seed, s.name, "drop", id, s.step.Drop):
			return filtered, true
		case chance(w.Seed, s.name, "refuse", id, s.step.Refuse):
			return w.refusedOut(), true
		case s.step.Window > 0:
			return merged, true
		case w.stepSplits(s, id):
			out, exact = w.count(l, p, i+1, id+".0")
			for k := 1; k < 3; k++ {
				extra, sure := w.count(l, p, i+1, fmt.Sprintf("%s.%d", id, k))
				l.Made++
				add(l, extra)
				exact = exact && sure
			}
			return out, exact
		}
		return w.count(l, p, i+1, id)
	}
	exact = true
	switch p.plan.Mode {
	case "sink":
		switch {
		case chance(w.Seed, p.name, "refuse", id, p.plan.Refuse):
			return w.refusedOut(), true
		case chance(w.Seed, p.name, "omit", id, p.plan.Omit):
			return droppedOut, !w.mayGiveUp(p, id)
		}
		return delivered, !w.mayGiveUp(p, id)
	case "all", "route":
		for _, c := range p.inner {
			enters, broken := w.enters(c, id)
			if broken {
				out = max(out, w.refusedOut())
			}
			if enters {
				o, sure := w.count(l, c, 0, id)
				out, exact = max(out, o), exact && sure
			}
			if p.plan.Mode == "route" && (enters || broken) {
				break
			}
		}
		return out, exact
	}
	return delivered, false
}

func (w *world) refusedOut() int {
	if w.Letters {
		return dead
	}
	return droppedOut
}

func add(l *engine.Ledger, out int) {
	*[]*uint64{&l.Filtered, &l.Merged, &l.Delivered, &l.DeadLettered, &l.Dropped}[out]++
}

// ledger judges the ledger of a run that has come to its end with nothing given back.
func (w *world) ledger(got engine.Ledger, process int, ids []string) {
	if !got.Balanced() {
		w.wrong("the ledger of process %d does not balance: %+v", process, got)
		return
	}
	if w.nacked || w.Buffer {
		return
	}
	want := engine.Ledger{Received: uint64(w.returned)}
	exact := true
	for _, id := range ids {
		var source int
		if _, err := fmt.Sscanf(id, "s%d-", &source); err != nil {
			panic(err)
		}
		if chance(w.Seed, placeName("sim-from", source), "refuse", id, w.Sources[source].Refuse) {
			add(&want, w.refusedOut())
			exact = exact && len(w.Sources[source].Errors) == 0
			continue
		}
		out, sure := w.count(&want, w.root(), 0, id)
		add(&want, out)
		exact = exact && sure
	}
	for _, p := range w.nodes {
		for i, s := range p.next {
			for _, id := range s.madeNow {
				out, sure := w.count(&want, p, i+1, id)
				want.Made++
				add(&want, out)
				exact = exact && sure
			}
		}
	}
	if exact && got != want {
		w.wrong("the ledger of process %d is %+v, want %+v", process, got, want)
	}
}

// acknowledged returns the messages that were acknowledged from each source's number on, which were
// not refused by it.
func (w *world) acknowledged(from []int) (ids []string) {
	for i, u := range w.sources {
		for n := from[i]; n < u.next; n++ {
			ids = append(ids, u.source(n))
		}
	}
	return slices.Clip(ids)
}

func (u *upstream) source(n int) string { return fmt.Sprintf("s%d-%d", u.index, n) }
