package simulation

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// schedule is all that is drawn. Times are milliseconds of the bubble's clock.
type schedule struct {
	Seed     uint64
	Sources  []sourcePlan
	Steps    []stepPlan
	To       branchPlan
	InFlight int
	MaxBatch int
	Keyed    bool // order_by
	Buffer   bool
	Tries    int
	Letters  bool // dead letters, or else drop
	Ends     []interrupt
}

type sourcePlan struct {
	Arrivals []int // of each message, growing
	Refuse   int   // percent of the messages that it cannot hand on whole
	Errors   []int // numbers of the reads that fail; the batch comes with every other one
	Opens    []int // numbers of the openings that fail
}

type stepPlan struct {
	Drop, Refuse, Split int    // percent of the messages
	Errors              []int  // numbers of the calls that fail
	Panic               bool   // the last of these is a panic
	Poison              int    // percent of the messages at which it fails, each time or, if they may be tried for ever, three times
	Window              int    // messages that it holds at most; 0: it holds none
	Period              int    // it lets go after that time; 0: by count only
	Keep                bool   // it lets go of the messages themselves, and not of one made of them
	Real                string // the step of package step that does this in its way; empty: none
}

type branchPlan struct {
	Mode     string // sink, all, route, any, share
	When     int    // percent of the messages that enter; 100: no condition
	Broken   int    // percent of the messages that the condition has no answer for
	Steps    []stepPlan
	InFlight int
	Keyed    bool
	Branches []branchPlan

	// Of a sink.
	Refuse, Omit int
	Breaks       []breaking
	Opens        []int // numbers of the openings that fail
	Delay        int   // of each write at most
	Poison       int   // so many messages of 100 end the connection, three times each
	Deaf         bool  // Close does not end a write
}

// breaking is how one write goes wrong.
type breaking struct {
	Write   int // its number
	Settled int // percent of the batch that it says is settled
	Took    int // messages beyond that it took all the same
	Panic   bool
	Late    int // it answers that much later
}

// interrupt is what ends a run of the process.
type interrupt struct {
	At    int
	Kind  string // stop, kill
	Abort int    // a second signal so long after a stop; 0: none
}

func (s *schedule) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// drawer draws a schedule. Each kind of fault has a chance of its own in each schedule, so that
// rare ones meet in some.
type drawer struct {
	*rand.Rand
	calm bool // no faults at all
}

func draw(seed uint64) *schedule {
	d := drawer{Rand: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // no secret
	d.calm = d.IntN(8) == 0
	s := &schedule{Seed: seed, InFlight: 1, MaxBatch: 1 + d.IntN(8), Letters: d.IntN(3) > 0, Buffer: d.IntN(5) == 0}
	if d.IntN(2) == 0 {
		s.InFlight = 2 + d.IntN(4)
		s.Keyed = d.IntN(2) == 0
	}
	if d.IntN(3) == 0 {
		s.Tries = 1 + d.IntN(4)
	}
	for range 1 + d.IntN(2)*d.IntN(3) {
		s.Sources = append(s.Sources, d.source())
	}
	if d.IntN(2) == 0 {
		s.Steps = d.steps(true)
	}
	s.To = d.branch(0, s.Tries > 0, true)
	for at := 0; d.IntN(2) == 0 && !d.calm && len(s.Ends) < 4; {
		at += 1 + d.IntN(400)
		e := interrupt{At: at, Kind: "stop"}
		switch d.IntN(4) {
		case 0:
			e.Kind = "kill"
		case 1:
			e.Abort = 1 + d.IntN(300)
		}
		s.Ends = append(s.Ends, e)
	}
	d.poison(s.Steps)
	d.poisonIn(&s.To)
	return s
}

// poison is drawn last, so that the rest is what it was before there was any.
func (d drawer) poison(steps []stepPlan) {
	for i := range steps {
		if !d.calm {
			steps[i].Poison = d.percent(3, 10)
		}
	}
}

func (d drawer) poisonIn(b *branchPlan) {
	d.poison(b.Steps)
	for i := range b.Branches {
		d.poisonIn(&b.Branches[i])
	}
}

func (d drawer) source() sourcePlan {
	var p sourcePlan
	at := 0
	for range 1 + d.IntN(25) {
		if d.IntN(3) == 0 {
			at += d.IntN(60)
		}
		p.Arrivals = append(p.Arrivals, at)
	}
	p.Refuse = d.percent(4, 20)
	p.Errors, p.Opens = d.numbers(4, 12), d.numbers(4, 4)
	return p
}

func (d drawer) steps(holds bool) (ps []stepPlan) {
	for range 1 + d.IntN(2) {
		p := stepPlan{Drop: d.percent(2, 30), Refuse: d.percent(3, 20), Split: d.percent(3, 30), Errors: d.numbers(5, 10)}
		p.Panic = len(p.Errors) > 0 && d.IntN(4) == 0
		if holds && d.IntN(2) == 0 {
			p.Window, p.Keep = 1+d.IntN(6), d.IntN(3) == 0
			if d.IntN(2) == 0 {
				p.Period = 1 + d.IntN(200)
			}
			if d.IntN(2) == 0 {
				p.real(d.IntN(2) == 0)
			}
		}
		ps = append(ps, p)
	}
	return ps
}

// real has a step of package step do it.
func (p *stepPlan) real(first bool) {
	switch {
	case p.Keep && first:
		p.Real = fmt.Sprintf("delay: {for: %dms, max_held: %d}", p.Period+1, 2*p.Window)
	case p.Keep:
		p.Real = fmt.Sprintf(`throttle: {rate: %d, per: %dms, burst: %[1]d, max_held: %d, key: "{{ len(payload) %% 2 }}"}`,
			p.Window, p.Period+1, 2*p.Window)
	case first && p.Period == 0:
		p.Real = fmt.Sprintf("batch: {count: %d, output: lines, period: 0s}", p.Window)
	case first:
		p.Real = fmt.Sprintf(`batch: {count: %d, output: lines, period: %dms, key: "{{ len(payload) %% 2 }}"}`,
			p.Window, p.Period)
	case p.Window%2 == 0:
		p.Real = fmt.Sprintf(`window: {session: %dms, max_session: 200ms, key: "{{ len(payload) %% 2 }}", value: "{{ payload }}", functions: [list]}`,
			p.Period/4+1)
	default:
		p.Real = fmt.Sprintf(`window: {every: %dms, key: "{{ len(payload) %% 2 }}", value: "{{ payload }}", functions: [list]}`,
			p.Period+1)
	}
}

func (d drawer) branch(depth int, poison, holds bool) branchPlan {
	p := branchPlan{Mode: "sink", When: 100}
	if depth < 3 && d.IntN(2+2*depth) == 0 {
		p.Mode = [...]string{"all", "route", "any", "share"}[d.IntN(4)]
		for range 1 + d.IntN(3) {
			c := d.branch(depth+1, poison, holds && p.Mode != "any")
			if p.Mode != "share" && d.IntN(2) == 0 {
				c.When = 20 + d.IntN(80)
				c.Broken = d.percent(4, 10)
			}
			p.Branches = append(p.Branches, c)
		}
		p.Keyed = p.Mode == "share" && d.IntN(2) == 0
	} else {
		p.Refuse, p.Omit = d.percent(3, 15), d.percent(5, 15)
		if poison {
			p.Poison = d.percent(3, 10)
		}
		p.Opens, p.Delay, p.Deaf = d.numbers(4, 5), d.IntN(3)*d.IntN(40), d.IntN(8) == 0
		for _, n := range d.numbers(2, 10) {
			p.Breaks = append(p.Breaks, breaking{
				Write: n, Settled: d.IntN(101), Took: d.IntN(2) * d.IntN(4),
				Panic: d.IntN(12) == 0, Late: d.IntN(4) / 3 * d.IntN(3000),
			})
		}
	}
	if d.IntN(4) == 0 {
		p.Steps = d.steps(holds)
	}
	if d.IntN(5) == 0 {
		p.InFlight = 1 + d.IntN(3)
	}
	return p
}

// percent is not 0 in one of so many draws.
func (d drawer) percent(one, most int) int {
	if d.IntN(one) > 0 {
		return 0
	}
	return 1 + d.IntN(most)
}

// numbers are some below most, in one of so many draws.
func (d drawer) numbers(one, most int) (ns []int) {
	if d.calm || d.IntN(one) > 0 {
		return nil
	}
	for n := range most {
		if d.IntN(3) == 0 {
			ns = append(ns, n)
		}
	}
	return ns
}

// chance reports whether a message is among percent of all those that a place sees. It depends on
// nothing else.
func chance(seed uint64, place, what, id string, percent int) bool {
	return percent > 0 && int(hash(fmt.Sprint(seed, place, what, id))%100) < percent
}

func hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return (h ^ h>>32) * 0x9e3779b97f4a7c15 >> 20
}

// smaller returns schedules that have one thing less.
func (s *schedule) smaller() (all []*schedule) {
	try := func(change func(*schedule)) {
		var c schedule
		text, err := json.Marshal(s)
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			panic(err)
		}
		change(&c)
		if c.String() != s.String() {
			all = append(all, &c)
		}
	}
	for i := range s.Ends {
		try(func(c *schedule) { c.Ends = append(c.Ends[:i], c.Ends[i+1:]...) })
	}
	for i := range s.Sources {
		if len(s.Sources) > 1 {
			try(func(c *schedule) { c.Sources = append(c.Sources[:i], c.Sources[i+1:]...) })
		}
		for _, n := range []int{len(s.Sources[i].Arrivals) / 2, len(s.Sources[i].Arrivals) - 1} {
			if n > 0 {
				try(func(c *schedule) { c.Sources[i].Arrivals = c.Sources[i].Arrivals[:n] })
			}
		}
		try(func(c *schedule) { c.Sources[i].Refuse = 0 })
		try(func(c *schedule) { c.Sources[i].Errors = nil })
		try(func(c *schedule) { c.Sources[i].Opens = nil })
		for k := range s.Sources[i].Errors {
			try(func(c *schedule) { e := c.Sources[i].Errors; c.Sources[i].Errors = append(e[:k], e[k+1:]...) })
		}
		try(func(c *schedule) {
			for k := range c.Sources[i].Arrivals {
				c.Sources[i].Arrivals[k] = 0
			}
		})
	}
	for i := range s.Steps {
		try(func(c *schedule) { c.Steps = append(c.Steps[:i], c.Steps[i+1:]...) })
		smallerStep(try, func(c *schedule) *stepPlan { return &c.Steps[i] })
	}
	smallerBranch(try, &s.To, func(c *schedule) *branchPlan { return &c.To })
	try(func(c *schedule) { c.InFlight, c.Keyed = 1, false })
	try(func(c *schedule) { c.InFlight = 2 })
	try(func(c *schedule) { c.Keyed = false })
	try(func(c *schedule) { c.MaxBatch = 1 })
	try(func(c *schedule) { c.MaxBatch = 2 })
	try(func(c *schedule) { c.Buffer = false })
	try(func(c *schedule) { c.Letters = true })
	return all
}

func smallerStep(try func(func(*schedule)), of func(*schedule) *stepPlan) {
	try(func(c *schedule) { of(c).Drop = 0 })
	try(func(c *schedule) { of(c).Refuse = 0 })
	try(func(c *schedule) { of(c).Split = 0 })
	try(func(c *schedule) { of(c).Errors, of(c).Panic = nil, false })
	try(func(c *schedule) { of(c).Poison = 0 })
	try(func(c *schedule) { of(c).Window, of(c).Real = 0, "" })
	try(func(c *schedule) { of(c).Period = 0 })
	try(func(c *schedule) { of(c).Real = "" })
}

func smallerBranch(try func(func(*schedule)), b *branchPlan, of func(*schedule) *branchPlan) {
	for i := range b.Branches {
		try(func(c *schedule) { child := of(c).Branches[i]; child.When = 100; *of(c) = child })
		if len(b.Branches) > 1 {
			try(func(c *schedule) { x := of(c); x.Branches = append(x.Branches[:i], x.Branches[i+1:]...) })
		}
		smallerBranch(try, &b.Branches[i], func(c *schedule) *branchPlan { return &of(c).Branches[i] })
	}
	for i := range b.Steps {
		try(func(c *schedule) { x := of(c); x.Steps = append(x.Steps[:i], x.Steps[i+1:]...) })
		smallerStep(try, func(c *schedule) *stepPlan { return &of(c).Steps[i] })
	}
	for i := range b.Breaks {
		try(func(c *schedule) { x := of(c); x.Breaks = append(x.Breaks[:i], x.Breaks[i+1:]...) })
	}
	try(func(c *schedule) { of(c).When, of(c).Broken = 100, 0 })
	try(func(c *schedule) { of(c).Broken = 0 })
	try(func(c *schedule) { of(c).Refuse = 0 })
	try(func(c *schedule) { of(c).Omit = 0 })
	try(func(c *schedule) { of(c).Poison = 0 })
	try(func(c *schedule) { of(c).Delay = 0 })
	try(func(c *schedule) { of(c).Opens = nil })
	try(func(c *schedule) { of(c).Deaf = false })
	try(func(c *schedule) { of(c).InFlight = 0 })
	try(func(c *schedule) { of(c).Keyed = false })
}
