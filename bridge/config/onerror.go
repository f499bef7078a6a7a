package config

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// leastPause keeps what is tried again from being tried all the time.
const leastPause = time.Millisecond

var fates = map[string]bridge.Fate{
	"stop": bridge.FateStop, "drop": bridge.FateDrop,
	"dead_letter": bridge.FateDeadLetter,
}

// policy is what becomes of messages that are refused in a place.
type policy struct {
	bridge.OnError
	key     *yaml.Node // on_error that says so
	letters *yaml.Node // where the sink for dead letters is named
	any     bool       // it is that of an entry of any
}

// narrow returns what holds in a place of the kind that role names: what is said around it, but for
// the keys of its own on_error.
func (b *builder) narrow(e entry, name, role string, around policy) policy {
	p, given := e.beside["on_error"]
	switch {
	case given && around.any:
		b.fail(p.key, "on_error means nothing within any, where what an entry refuses goes to the next one",
			"write it beside any: it is about what all of them refuse")
	case given:
		return b.onError(p, name, role, around)
	}
	return around
}

// onError reads an on_error, whose keys go before what is said around it.
func (b *builder) onError(p pair, name, role string, around policy) policy {
	own, n := around, p.value
	own.key = p.key
	w := &walker{document: b.document}
	switch {
	case b.bad[n]:
		return own
	case n.Kind == yaml.ScalarNode && !isNull(n):
		own.Then = w.fate(n, "on_error")
	case n.Kind != yaml.MappingNode:
		b.fail(n, "on_error must be a mapping, not "+kind(n), "write {then: dead_letter, dead_letter: {CONNECTOR: {…}}}")
		return own
	}
	b.pairs(n, func(key, value *yaml.Node) {
		switch key.Value {
		case "retry":
			if role == source.name {
				b.fail(key, "retry means nothing at a "+role+", which refuses a message once",
					"write it in the on_error of the pipeline, of a step or of a sink")
				return
			}
			w.retry(value, &own.OnError)
		case "threshold":
			t := threshold{Window: cmp.Or(own.Window, 100)}
			before := w.failed
			w.value(value, reflect.ValueOf(&t).Elem(), &field{name: "threshold"})
			if t.Most >= t.Window && w.failed == before {
				b.fail(value, "threshold: most must be less than window", "")
			}
			own.Most, own.Window = t.Most, t.Window
		case "then":
			own.Then = w.fate(value, "then")
		case "dead_letter":
			own.letters = value
			b.said = append(b.said, value)
			if e, ok := placed(b, value, sink.alone(), name+".dead", policy{}); ok {
				own.DeadLetter = e
			}
		default:
			b.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", onErrorShape.names()))
		}
	})
	return b.uses(own)
}

// uses notes which sink the dead letters of p go to.
func (b *builder) uses(p policy) policy {
	if p.Then == bridge.FateDeadLetter && p.letters != nil {
		b.used[p.letters] = true
	}
	return p
}

// unused reports sinks for dead letters that no letter goes to.
func (b *builder) unused() {
	for _, n := range b.said {
		if !b.used[n] {
			b.fail(n, "dead_letter is not used", "write then: dead_letter, too")
		}
	}
}

func (w *walker) fate(n *yaml.Node, key string) bridge.Fate {
	var text string
	w.value(n, reflect.ValueOf(&text).Elem(), &field{name: key, enum: onErrorShape.byName["then"].enum})
	return fates[text]
}

// Bounds of [bridge.OnError] and [engine.Restart] that hold if nothing is said.
var (
	retryPauses   = pauses{250 * time.Millisecond, 8 * time.Second}
	restartPauses = pauses{time.Second, 5 * time.Minute}
)

// retry reads how often a message is tried, into what is said around it.
func (w *walker) retry(n *yaml.Node, o *bridge.OnError) {
	r := retry{o.Tries, pauses{o.FirstWait, o.LongestWait}}
	before := w.failed
	w.value(n, reflect.ValueOf(&r).Elem(), &field{name: "retry"})
	if w.failed == before {
		w.bounds(n, r.pauses, retryPauses)
	}
	o.Tries, o.FirstWait, o.LongestWait = r.Max, r.Initial, r.MaxInterval
}

// bounds checks pauses that are written at n. Those that are 0 and not written are the usual ones.
func (w *walker) bounds(n *yaml.Node, p, usual pauses) {
	first, most := cmp.Or(p.Initial, usual.Initial), cmp.Or(p.MaxInterval, usual.MaxInterval)
	initial, longest := valueOf(n, "initial"), valueOf(n, "max_interval")
	switch {
	case initial != nil && p.Initial < leastPause:
		w.fail(initial, "initial must be at least "+leastPause.String()+", not "+quote(initial.Value), "")
	case longest != nil && p.MaxInterval < leastPause:
		w.fail(longest, "max_interval must be at least "+leastPause.String()+", not "+quote(longest.Value), "")
	case first > most && initial != nil:
		w.fail(initial, "initial cannot be more than max_interval, which is "+most.String(), "")
	case first > most && longest != nil:
		w.fail(longest, "max_interval cannot be less than initial, which is "+first.String(), "")
	}
}

// restart reads how a pipeline that failed is started again.
func (d *document) restart(n *yaml.Node) (r engine.Restart) {
	w := &walker{document: d}
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		if !slices.Contains(pipelineShape.byName["restart"].enum, n.Value) {
			w.fail(n, "restart cannot be "+quote(n.Value), "write off, or {initial: 1s, max_interval: 5m}")
		}
		r.Off = true
		return r
	}
	var p pauses
	w.value(n, reflect.ValueOf(&p).Elem(), &field{name: "restart"})
	if w.failed == 0 {
		w.bounds(n, p, restartPauses)
	}
	r.First, r.Most = p.Initial, p.MaxInterval
	return r
}
