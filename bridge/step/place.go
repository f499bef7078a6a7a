package step

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/jsonfield"
)

// place is a part of a message that steps may change.
type place struct {
	text   string // as it is written
	part   part
	header string         // the name
	field  jsonfield.Path // of the payload
}

type part int

const (
	topicPart part = iota
	payloadPart
	timePart
	headerPart
	fieldPart
)

// parsePlace reads what names a part of a message.
func parsePlace(text string) (place, error) {
	p := place{text: text}
	head, _, _ := strings.Cut(text, "[")
	switch {
	case text == "topic":
		p.part = topicPart
	case text == "payload":
		p.part = payloadPart
	case text == "time":
		p.part = timePart
	case strings.ContainsAny(head, ", *"):
		return p, fmt.Errorf(
			`%q is no part of a message: several are a list, [json.a, json.b], and other keys are written json["a key"]`,
			text)
	case strings.HasPrefix(text, "header.") && len(text) > len("header."):
		p.part, p.header = headerPart, text[len("header."):]
	case strings.HasPrefix(text, "json.") || strings.HasPrefix(text, "json["):
		field, err := jsonfield.Parse(text[len("json"):])
		if err != nil {
			return p, err
		}
		p.part, p.field = fieldPart, field
	case text == "json":
		return p, errors.New("the payload as a whole is written payload")
	case text == "id":
		return p, errors.New("the id is its source's, and cannot be changed")
	default:
		return p, fmt.Errorf("%q is no part of a message: write topic, payload, time, header.NAME or json.FIELD", text)
	}
	return p, nil
}

// overlaps reports whether what is set at both would depend on the order.
func (p place) overlaps(q place) bool {
	switch {
	case p.part == fieldPart && q.part == fieldPart:
		return p.field.Within(q.field) || q.field.Within(p.field)
	case p.part == payloadPart && q.part == fieldPart, p.part == fieldPart && q.part == payloadPart:
		return true
	}
	return p.part == q.part && p.header == q.header
}

// set puts v, a value for m, in its place in out. own says whether the headers of out are its own
// already; it reports whether they are.
func (p place) set(m, out *bridge.Message, v bridge.Value, space []byte, own bool) (bool, []byte, error) {
	var err error
	if p.part == fieldPart {
		if space, err = v.AppendJSON(space[:0], m); err == nil {
			out.Payload, err = p.field.Set(out.Payload, space)
		}
		return own, space, err
	}
	if space, err = v.AppendText(space[:0], m); err != nil {
		return own, space, err
	}
	switch p.part {
	case topicPart:
		out.Topic = string(space)
	case payloadPart:
		out.Payload = slices.Clone(space)
	case timePart:
		if out.Time, err = time.Parse(time.RFC3339Nano, string(space)); err != nil {
			return own, space, errors.New("the value is no time like 2026-01-02T15:04:05Z")
		}
	case headerPart:
		if !own {
			out.Header = maps.Clone(out.Header)
		}
		if out.Header == nil {
			out.Header = make(map[string]string, 1)
		}
		out.Header[p.header], own = string(space), true
	case fieldPart: // see above
	}
	return own, space, nil
}

// unset removes what is at the place of m.
func (p place) unset(out *bridge.Message, own bool) (_ bool, err error) {
	switch p.part {
	case topicPart:
		out.Topic = ""
	case payloadPart:
		out.Payload = nil
	case timePart:
		out.Time = time.Time{}
	case headerPart:
		if _, is := out.Header[p.header]; !is {
			break
		}
		if !own {
			out.Header, own = maps.Clone(out.Header), true
		}
		delete(out.Header, p.header)
	case fieldPart:
		out.Payload, err = p.field.Delete(out.Payload)
	}
	return own, err
}
