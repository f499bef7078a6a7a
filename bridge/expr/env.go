package expr

import (
	"math/rand/v2"
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
	return []expr.Option{
		expr.Env(variables()),
		expr.MaxNodes(maxNodes),
		expr.Function("toSubject", text(bridge.SubjectFromTopic), new(func(string) string)),
		expr.Function("toTopic", text(bridge.TopicFromSubject), new(func(string) string)),
		expr.Function("portalid", text(bridge.PortalID), new(func(string) string)),
		expr.Function("segment", segment, new(func(string, int) string)),
		expr.Patch(mentions{n}),
	}
}

func segment(a ...any) (any, error) {
	text, isText := a[0].(string)
	i, isInt := a[1].(int)
	if !isText || !isInt {
		return nil, reason("segment wants a text and a whole number")
	}
	segments := strings.Split(text, "/")
	if i < 0 {
		i += len(segments)
	}
	if i < 0 || i >= len(segments) {
		return nil, reason("the topic has not so many segments")
	}
	return segments[i], nil
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
		id.Value = "env"
	}
}

// fill sets the variables that the program needs.
func (n *needs) fill(env map[string]any, m *bridge.Message, seq int) error {
	if n.topic {
		env["topic"] = m.Topic
	}
	if n.payload {
		env["payload"] = string(m.Payload)
	}
	if n.json {
		value, err := parseJSON(m.Payload)
		if err != nil {
			return err
		}
		env["json"] = value
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
		env["now"] = time.Now()
	}
	if n.rand {
		env["rand"] = rand.Float64()
	}
	return nil
}

// headers makes a missing header nil instead of the empty text.
func headers(h map[string]string) map[string]any {
	all := make(map[string]any, len(h))
	for k, v := range h {
		all[k] = v
	}
	return all
}
