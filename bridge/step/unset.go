package step

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed unset.yaml
var unsetExample string

// Unset returns the connector unset, a step that removes parts of messages: headers, fields of a
// JSON payload, or empties topic, payload and time.
//
// # Settings
//
// parts are what is removed, all of the message as it came; `unset: [json.debug, header.trace]`
// sets them. What a message does not have is no mistake.
//
// # Errors
//
// A message is refused if a field is to be removed and its payload is not JSON.
func Unset() bridge.Connector {
	return bridge.Connector{
		Name:     "unset",
		Summary:  "removes headers or fields of a JSON payload",
		Delivery: "every message goes on, with its id",
		Example:  unsetExample,
		Step:     bridge.NewOpener(unsetSettings{}, openUnset),
	}
}

type unsetSettings struct {
	Parts []string `yaml:"parts,short,required" doc:"what is removed: topic, payload, time, header.NAME, json.FIELD"`
}

// Describe says that a message that comes again is the same one.
func (*unsetSettings) Describe() bridge.Description { return repeats() }

// Validate names the part that cannot be removed.
func (s *unsetSettings) Validate() error {
	_, err := s.places()
	return err
}

func (s *unsetSettings) places() (all []place, err error) {
	var errs []error
	for _, text := range s.Parts {
		p, err := parsePlace(text)
		if err != nil {
			errs = append(errs, bridge.KeyErrorf("parts", "%w", err))
		}
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}

type unset []place

func openUnset(_ context.Context, s *unsetSettings, _ bridge.Env) (bridge.Step, error) {
	places, err := s.places()
	// The last items of lists first, since those behind one that is removed have another index
	// then.
	slices.SortFunc(places, func(a, b place) int { return b.field.Compare(a.field) })
	return unset(places), bridge.Permanent(err)
}

func (u unset) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i := range batch {
		m, err := u.one(batch[i])
		if err != nil {
			out.Refuse(i, err)
			continue
		}
		out.Emit(i, m)
	}
	return nil
}

func (u unset) one(m bridge.Message) (_ bridge.Message, err error) {
	own := false
	for i := range u {
		if own, err = u[i].unset(&m, own); err != nil {
			return m, fmt.Errorf("unset %s: %w", u[i].text, err)
		}
	}
	return m, nil
}

func (unset) Close() error { return nil }
