package config

import (
	"reflect"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

var overflows = map[string]bridge.Overflow{
	"": bridge.OverflowBlock, "block": bridge.OverflowBlock, "reject": bridge.OverflowReject,
	"drop_oldest": bridge.OverflowDropOldest,
}

const bufferShape = "write memory, disk, or {disk: {max_bytes: 1GiB, when_full: block}}"

// buffer reads where a pipeline keeps messages between its sources and its sinks.
func (d *document) buffer(p *engine.Pipeline, n *yaml.Node) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "memory":
	case n.Kind == yaml.ScalarNode && n.Value == "disk":
		p.Buffer = new(bridge.BufferSettings)
	case n.Kind == yaml.ScalarNode:
		d.fail(n, "buffer must be memory or disk, not "+quote(n.Value),
			hint(n.Value, "values", pipelineShape.byName["buffer"].enum))
	case n.Kind != yaml.MappingNode || len(n.Content) != 2:
		d.fail(n, "buffer must be memory, disk, or disk with settings", bufferShape)
	case n.Content[0].Value != "disk":
		d.fail(n.Content[0], "unknown key "+quoteName(n.Content[0].Value), bufferShape)
	case !d.bad[n.Content[1]]:
		var set disk
		w := &walker{document: d}
		w.value(n.Content[1], reflect.ValueOf(&set).Elem(), &field{name: "disk"})
		if set.MaxBytes < 0 {
			d.fail(n.Content[1], "max_bytes cannot be negative", "")
		}
		p.Buffer = &bridge.BufferSettings{MaxBytes: set.MaxBytes, WhenFull: overflows[set.WhenFull]}
	}
}
