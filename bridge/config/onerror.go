package config

import (
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// retry is how often and at which distance a message is tried.
type retry struct {
	Max         int           `yaml:"max" min:"0"`
	Initial     time.Duration `yaml:"initial"`
	MaxInterval time.Duration `yaml:"max_interval"`
}

// threshold is how many messages may fail for good.
type threshold struct {
	Most   int `yaml:"most,required" min:"1"`
	Window int `yaml:"window" min:"1" max:"100000"`
}

var (
	onErrorKeys = []string{"retry", "then", "dead_letter", "threshold"}
	fates       = map[string]bridge.Fate{"stop": bridge.FateStop, "drop": bridge.FateDrop, "dead_letter": bridge.FateDeadLetter}
)

// onError reads what becomes of messages that a sink cannot take.
func (d *document) onError(p *bridge.Pipeline, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "on_error must be a mapping, not "+kind(n), "write {then: dead_letter, dead_letter: {CONNECTOR: {…}}}")
		return
	}
	w := &walker{document: d}
	var then, letters *yaml.Node // without letters, they go to the state
	d.pairs(n, func(key, value *yaml.Node) {
		switch key.Value {
		case "retry":
			var r retry
			w.value(value, reflect.ValueOf(&r).Elem(), &field{name: "retry"})
			p.OnError.Tries, p.OnError.FirstWait, p.OnError.LongestWait = r.Max, r.Initial, r.MaxInterval
		case "threshold":
			t := threshold{Window: 100}
			w.value(value, reflect.ValueOf(&t).Elem(), &field{name: "threshold"})
			if t.Most >= t.Window && w.failed == 0 {
				d.fail(value, "threshold: most must be less than window", "")
			}
			p.OnError.Most, p.OnError.Window = t.Most, t.Window
		case "then":
			var text string
			then = value
			w.value(value, reflect.ValueOf(&text).Elem(), &field{name: "then", enum: []string{"stop", "drop", "dead_letter"}})
			p.OnError.Then = fates[text]
		case "dead_letter":
			letters = value
			if e, ok := build(d, value, sink, instance(p, "dead", 0)); ok {
				p.OnError.DeadLetter = e
			}
		default:
			d.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", onErrorKeys))
		}
	})
	if p.OnError.Then != bridge.FateDeadLetter && letters != nil && then == nil {
		d.fail(letters, "dead_letter is not used", "write then: dead_letter, too")
	}
}
