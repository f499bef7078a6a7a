package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/tidwall/gjson"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/jsonfield"
)

// field is a field of the payload that an expression names: json.room, json.list[0].
type field struct {
	name string // of the variable that stands for it; nobody can write it
	jsonfield.Path
}

// value returns what the language has for a field, nil if there is none.
func value(raw string) (any, error) {
	switch {
	case raw == "" || raw == "null":
		return nil, nil
	case raw == "true" || raw == "false":
		return raw == "true", nil
	case raw[0] == '"':
		return unquote(raw), nil
	case raw[0] == '{' || raw[0] == '[':
		return parseJSON([]byte(raw))
	}
	return number(raw), nil
}

func unquote(raw string) string { return gjson.Parse(raw).Str }

// appendText appends the text of a field, as appendValue does, and keeps the digits of numbers and
// the order of keys.
func appendText(b []byte, raw string) ([]byte, error) {
	switch {
	case raw == "null":
		return appendValue(b, nil)
	case raw[0] == '"':
		return append(b, unquote(raw)...), nil
	}
	return appendRaw(b, raw)
}

// appendRaw appends a field as JSON.
func appendRaw(b []byte, raw string) ([]byte, error) {
	switch {
	case raw[0] == '{' || raw[0] == '[':
		return appendCompact(b, raw)
	case raw[0] == '"' && !gjson.Valid(raw):
		return nil, errNotJSON
	}
	return append(b, raw...), nil
}

func appendCompact(b []byte, raw string) ([]byte, error) {
	out := bytes.NewBuffer(b)
	if err := json.Compact(out, []byte(raw)); err != nil {
		return nil, errNotJSON
	}
	return out.Bytes(), nil
}

// fields replaces what a checked program says of fields of the payload by variables. It returns
// what they stand for; false if the program wants the payload as a whole, too.
func fields(root *ast.Node) ([]field, bool) {
	known := make(map[string][]any)
	ast.Walk(root, visitor(func(n *ast.Node) {
		member, ok := (*n).(*ast.MemberNode)
		if !ok || member.Optional || member.Method {
			return
		}
		outer, ok := member.Node.(*ast.IdentifierNode)
		key := fixedKey(member.Property)
		if !ok || key == nil || outer.Value != "json" && known[outer.Value] == nil {
			return
		}
		path := append(slices.Clip(known[outer.Value]), key)
		name := fmt.Sprintf("field %q", path)
		known[name] = path
		stands := &ast.IdentifierNode{Value: name}
		stands.SetNature(*member.Nature())
		ast.Patch(n, stands)
	}))
	var used []field
	can := true
	ast.Walk(root, visitor(func(n *ast.Node) {
		id, ok := (*n).(*ast.IdentifierNode)
		if !ok {
			return
		}
		is := func(f field) bool { return f.name == id.Value }
		if keys := known[id.Value]; keys != nil && !slices.ContainsFunc(used, is) {
			path, ok := jsonfield.New(keys...)
			can = can && ok
			used = append(used, field{id.Value, path})
		}
		can = can && id.Value != "json"
	}))
	return used, can && len(used) > 0
}

// fixedKey returns the key that a property is, nil if it is not known before there is a message, or
// a mapping and a list would take it differently.
func fixedKey(property ast.Node) any {
	switch p := property.(type) {
	case *ast.StringNode:
		if strings.Trim(p.Value, "0123456789") != "" {
			return p.Value
		}
	case *ast.IntegerNode:
		return p.Value
	}
	return nil
}

// set fills in the variables for m, and reports whether all fields are there.
func set(env map[string]any, fields []field, m *bridge.Message) bool {
	for i := range fields {
		raw, ok := fields[i].Find(m.Payload)
		if !ok {
			return false
		}
		v, err := value(raw)
		if err != nil {
			return false
		}
		env[fields[i].name] = v
	}
	return true
}
