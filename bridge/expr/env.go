package expr

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// needs says which variables a program mentions. The others are not filled in,
// since some cost a copy of the payload or parsing it.
type needs struct {
	topic, payload, json, header, time, id, seq, now, rand bool

	world *World
}

// variables lists the variables and their types.
func variables() types.Map {
	return types.Map{
		"topic": types.String, "payload": types.String, "json": types.Any,
		"header": types.TypeOf(map[string]any{}), "time": types.TypeOf(time.Time{}),
		"id": types.String, "seq": types.Int, "now": types.TypeOf(time.Time{}), "rand": types.Float64,
	}
}

// functions lists the functions beside the language's own.
func functions() []string { return []string{"portalid", "segment", "toSubject", "toTopic"} }

// language returns the options that make our dialect; compiling fills in n.
func language(n *needs) []expr.Option {
	text := func(f func(string) string) func(...any) (any, error) {
		return func(a ...any) (any, error) {
			s, ok := a[0].(string)
			if !ok {
				return nil, reason("the function wants a text")
			}
			return f(s), nil
		}
	}
	return append(additionOptions(n.world),
		expr.Env(variables()),
		expr.MaxNodes(maxNodes),
		expr.Function("toSubject", text(bridge.SubjectFromTopic), new(func(string) string)),
		expr.Function("toTopic", text(bridge.TopicFromSubject), new(func(string) string)),
		expr.Function("portalid", text(bridge.PortalID), new(func(string) string)),
		expr.Function("segment", segment, new(func(string, int) string)),
		// The language's own ones write several lines and Go's idea of a mapping, and round long
		// numbers.
		expr.Function("toJSON", func(a ...any) (any, error) { return rendered(appendJSON(nil, a[0])) },
			new(func(any) string)),
		expr.Function("string", func(a ...any) (any, error) { return rendered(appendValue(nil, a[0])) },
			new(func(any) string)),
		expr.Function("float", float, new(func(any) float64)), // of a json.Number, too
		expr.Function("fromJSON", fromJSON, new(func(string) any)),
		expr.Patch(mentions{n}),
	)
}

func rendered(text []byte, err error) (any, error) { return string(text), err }

func fromJSON(a ...any) (any, error) {
	text, _ := a[0].(string)
	value, err := parseJSON([]byte(text))
	if err != nil {
		return nil, reason("the text is not JSON")
	}
	return value, nil
}

func float(a ...any) (any, error) {
	if long, ok := a[0].(json.Number); ok {
		a[0] = string(long)
	}
	return library("float").Fast(a[0]), nil
}

func segment(a ...any) (any, error) {
	text, isText := a[0].(string)
	i, isInt := a[1].(int)
	if !isText || !isInt {
		return nil, reason("segment wants a text and a whole number")
	}
	if i < 0 {
		i += 1 + strings.Count(text, "/")
	}
	for ; i > 0; i-- {
		var more bool
		if _, text, more = strings.Cut(text, "/"); !more {
			break
		}
	}
	if i != 0 {
		return nil, reason("the topic has not so many segments")
	}
	text, _, _ = strings.Cut(text, "/")
	return text, nil
}

// mentions is a visitor that notes the variables of a program.
type mentions struct{ *needs }

func (n mentions) Visit(node *ast.Node) {
	id, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	switch id.Value {
	case "topic":
		n.topic = true
	case "payload":
		n.payload = true
	case "json":
		n.json = true
	case "header":
		n.header = true
	case "time":
		n.time = true
	case "id":
		n.id = true
	case "seq":
		n.seq = true
	case "now":
		n.now = true
	case "rand":
		n.rand = true
	case "$env":
		// It would reach variables that are not filled in.
		id.Value = "$ENV"
	}
}

// fill sets the variables that the program needs, but for json.
func (n *needs) fill(env map[string]any, m *bridge.Message, seq int) {
	if n.topic {
		env["topic"] = m.Topic
	}
	if n.payload {
		env["payload"] = string(m.Payload)
	}
	if n.header {
		env["header"] = headers(m.Header)
	}
	if n.time {
		env["time"] = m.Time
	}
	if n.id {
		env["id"] = m.ID
	}
	if n.seq {
		env["seq"] = seq
	}
	if n.now {
		env["now"] = n.world.now()
	}
	if n.rand {
		env["rand"] = n.world.rand()
	}
}

// headers makes a missing header nil instead of the empty text.
func headers(h map[string]string) map[string]any {
	all := make(map[string]any, len(h))
	for k, v := range h {
		all[k] = v
	}
	return all
}
