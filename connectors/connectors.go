// Package connectors lists every connector that is compiled in.
package connectors

import (
	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
	"github.com/xrtcbridge/xrtcbridge/connectors/discard"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
	"github.com/xrtcbridge/xrtcbridge/connectors/generate"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
)

// Builtin returns the connectors and steps that need no plugin.
func Builtin() []bridge.Connector {
	return []bridge.Connector{
		discard.Connector(),
		file.Connector(),
		generate.Connector(),
		mqtt.Connector(),
		nats.Connector(),
		stdio.Connector(),
		step.Batch(),
		step.Conflate(),
		step.Decode(),
		step.Dedupe(),
		step.Delay(),
		step.Encode(),
		step.Filter(),
		step.Format(),
		step.JQ(),
		step.Log(),
		step.Map(),
		step.Origin(),
		step.Parse(),
		step.Sample(),
		step.Schema(),
		step.Set(),
		step.Split(),
		step.Throttle(),
		step.Unset(),
		step.Window(),
		xrtc.Connector(),
	}
}
