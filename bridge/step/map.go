package step

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed map.yaml
var mapExample string

// Map returns the connector map, a step that makes a new payload.
//
// # Settings
//
// payload is the value that the payload becomes, most often a mapping; `map: {room: …, t: …}` sets
// it. A text becomes the payload as it is, anything else its JSON. Topic, headers and time stay.
//
// # Errors
//
// A message is refused if the value cannot be made of it, because a field is missing, say. The
// reason shows nothing of the message.
func Map() bridge.Connector {
	return bridge.Connector{
		Name:     "map",
		Summary:  "makes a new payload from parts of the message",
		Delivery: "every message goes on, with its id",
		Example:  mapExample,
		Step:     bridge.NewOpener(mapSettings{}, openMap),
	}
}

type mapSettings struct {
	Payload bridge.Value `yaml:"payload,short,required" doc:"what the payload becomes, most often a mapping: a text as it is, anything else as JSON"`
}

// Describe says that a message that comes again is the same one.
func (mapSettings) Describe() bridge.Description { return repeats() }

type mapping struct{ payload bridge.Value }

func openMap(_ context.Context, s *mapSettings, _ bridge.Env) (bridge.Step, error) {
	return mapping{s.Payload}, nil
}

func (s mapping) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	size := 0
	for i := range batch {
		payload, err := s.payload.AppendText(make([]byte, 0, size), &batch[i])
		if err != nil {
			out.Refuse(i, fmt.Errorf("map: %w", err))
			continue
		}
		size = len(payload) // the next one will be like it
		m := batch[i]
		m.Payload = payload
		out.Emit(i, m)
	}
	return nil
}

func (mapping) Close() error { return nil }
