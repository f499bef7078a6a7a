package step

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed set.yaml
var setExample string

// Set returns the connector set, a step that sets parts of messages: topic, payload, time,
// header.NAME, and fields of a JSON payload, json.NAME, which it leaves as it is otherwise.
//
// # Settings
//
// The names are those of what is set, and the values what it becomes, of any type. All values are
// made of the message as it came to the step. What is missing on the way to a field is made.
//
// # Errors
//
// A message is refused if a value cannot be made of it, because a field is missing, say, or its
// payload cannot have the field. The reason names the place and shows nothing of the message.
func Set() bridge.Connector {
	return bridge.Connector{
		Name:     "set",
		Summary:  "sets topic, headers, payload or fields of a JSON payload",
		Delivery: "every message goes on, with its id",
		Example:  setExample,
		Step:     bridge.NewOpener(setSettings{}, openSet),
	}
}

type setSettings struct {
	Fields bridge.Fields `yaml:"fields,short,required" doc:"what is set, topic, payload, time, header.NAME or json.FIELD, and to what; all of the message as it came"`
}

// Describe says that a message that comes again is the same one.
func (*setSettings) Describe() bridge.Description { return repeats() }

// Validate names the part that cannot be set.
func (s *setSettings) Validate() error {
	_, err := s.places()
	return err
}

func (s *setSettings) places() ([]place, error) {
	all := make([]place, len(s.Fields))
	var errs []error
	if len(s.Fields) == 0 {
		errs = append(errs, errors.New("set says nothing to be set"))
	}
	for i, f := range s.Fields {
		var err error
		if all[i], err = parsePlace(f.Name); err != nil {
			errs = append(errs, bridge.KeyErrorf(f.Name, "%w", err))
			continue
		}
		for _, before := range all[:i] {
			if before.text != "" && all[i].overlaps(before) {
				errs = append(errs, bridge.KeyErrorf(f.Name,
					"%s and %s are the same or part of each other: set one of them, or use two steps", f.Name, before.text))
			}
		}
	}
	return all, errors.Join(errs...)
}

type set struct {
	places []place
	fields bridge.Fields
	space  []byte
}

func openSet(_ context.Context, s *setSettings, _ bridge.Env) (bridge.Step, error) {
	places, err := s.places()
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	return &set{places: places, fields: s.Fields}, nil
}

func (s *set) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i := range batch {
		m, err := s.one(&batch[i])
		if err != nil {
			out.Refuse(i, err)
			continue
		}
		out.Emit(i, m)
	}
	return nil
}

func (s *set) one(m *bridge.Message) (made bridge.Message, err error) {
	made = *m
	own := false
	for i := range s.places {
		if own, s.space, err = s.places[i].set(m, &made, s.fields[i].Value, s.space, own); err != nil {
			return made, fmt.Errorf("set %s: %w", s.places[i].text, err)
		}
	}
	return made, nil
}

func (*set) Close() error { return nil }
