package step

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

//go:embed split.yaml
var splitExample string

// Split returns the connector split, a step that makes several messages of one, with its topic,
// headers and time.
//
// # Settings
//
// by is what a message becomes of: array, each element of a JSON array, byte by byte as it stands
// there; or lines, each line without its end. In place of the mapping, `split: lines` sets it.
//
// # Guarantees
//
// The source hears of delivery when all of them are delivered. If the message has an ID, they have
// IDs made of it. Of an empty array, and of an empty payload by lines, nothing is made: the message
// counts as filtered.
//
// # Errors
//
// A payload that is no JSON array, or of which more than max_messages would be made, is refused.
func Split() bridge.Connector {
	return bridge.Connector{
		Name:     "split",
		Summary:  "makes a message of each element of a JSON array, or of each line",
		Delivery: "delivered when all of them are; nothing in it is counted as filtered",
		Example:  splitExample,
		Step:     bridge.NewOpener(splitSettings{By: "array", MaxMessages: 100_000}, openSplit),
	}
}

type splitSettings struct {
	By          string `yaml:"by,short" enum:"array|lines" doc:"what a message is made of: each element of a JSON array, or each line"`
	MaxMessages int    `yaml:"max_messages" min:"1" max:"10000000" doc:"a payload of which more would be made is refused"`
}

// Describe says that a message that comes again is the same one.
func (splitSettings) Describe() bridge.Description { return repeats() }

type split struct {
	lines bool
	most  int
}

var _ bridge.Step = split{}

func openSplit(_ context.Context, s *splitSettings, _ bridge.Env) (bridge.Step, error) {
	return split{s.By == "lines", s.MaxMessages}, nil
}

func (s split) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i, m := range batch {
		parts, err := s.parts(m.Payload)
		switch {
		case err != nil:
			out.Refuse(i, err)
		case len(parts) > s.most:
			out.Refuse(i, fmt.Errorf("split: it would become more messages than max_messages, which is %d", s.most))
		case len(parts) == 0:
			out.Drop(i)
		}
		if err == nil && len(parts) <= s.most {
			for _, m.Payload = range parts {
				out.Emit(i, m)
			}
		}
	}
	return nil
}

func (split) Close() error { return nil }

// parts returns what messages are made of; they alias the payload.
func (s split) parts(p []byte) (parts [][]byte, err error) {
	if s.lines {
		if len(p) == 0 {
			return nil, nil
		}
		parts = bytes.SplitN(bytes.TrimSuffix(p, []byte{'\n'}), []byte{'\n'}, s.most+1)
		for i := range parts {
			parts[i] = bytes.TrimSuffix(parts[i], []byte{'\r'})
		}
		return parts, nil
	}
	elements, err := record.Array(p, s.most+1)
	if err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	for _, e := range elements {
		parts = append(parts, p[e.Index:e.Index+len(e.Raw):e.Index+len(e.Raw)])
	}
	return parts, nil
}
