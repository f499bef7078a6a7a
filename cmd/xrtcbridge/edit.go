package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// editor is a step set that changes dead letters.
type editor bridge.Step

// newEditor makes one of KEY=VALUE, nil of none. A value that is JSON is that, and any other a text.
func newEditor(ctx context.Context, l config.Loader, set []string, log *slog.Logger) (editor, error) {
	if len(set) == 0 {
		return nil, nil //nolint:nilnil // nothing is changed
	}
	var fields strings.Builder // in the order of the flags, twice the same one included
	for i, text := range set {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, failure{
				code: exitUsage, err: errors.New("--set: there is no KEY= in front of a value"),
				hint: "write KEY=VALUE, as in --set topic=sensors/a, header.unit=C, json.n=5 or payload='{{ json.body }}'",
			}
		}
		if !json.Valid([]byte(value)) {
			value = asJSON(value)
		}
		if i > 0 {
			fields.WriteByte(',')
		}
		fields.WriteString(asJSON(key) + ": " + strings.TrimSpace(value))
	}
	c, err := l.Parse("--set",
		[]byte("pipelines: {edit: {from: stdio, to: stdio, steps: [{set: {"+fields.String()+"}}]}}"))
	if err != nil {
		return nil, failure{code: exitUsage, err: err, hint: "xrtcbridge steps set shows what can be set"}
	}
	return c.Pipelines[0].Steps[0].Open(ctx, bridge.Env{Pipeline: "edit", Instance: "set", Logger: log})
}

// asJSON returns a text in JSON, which is YAML.
func asJSON(text string) string {
	out, _ := json.Marshal(text) // there is no text that fails
	return string(out)
}

// editing changes letters, and notes those that it cannot.
type editing struct {
	step editor
	n    uint64
	errs []error
}

// letter changes the message of a letter. It is called from one goroutine at a time.
func (e *editing) letter(ctx context.Context, l *store.Letter) error {
	if e.step == nil {
		return nil
	}
	o, err := new(bridge.StepRunner).Process(ctx, e.step, 1, bridge.Batch{l.Message()}, false)
	if err == nil && len(o.Refused) > 0 {
		err = o.Refused[0].Err
	}
	if err != nil {
		const most = 10
		if e.n++; e.n <= most {
			e.errs = append(e.errs, fmt.Errorf("dead letter %d stays, since it cannot be changed: %w", l.Number, err))
		}
		return err
	}
	m := o.Messages[0]
	l.Topic, l.Header, l.Time, l.Payload = m.Topic, m.Header, m.Time, m.Payload
	return nil
}

// failed returns what could not be changed, and why.
func (e *editing) failed() error {
	if more := e.n - uint64(len(e.errs)); more > 0 {
		return errors.Join(append(e.errs, fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(e.errs...)
}
