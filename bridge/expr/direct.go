package expr

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"unsafe"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm/runtime"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// direct evaluates an expression by functions that call each other, which takes a fraction of what
// the machine does for short ones, and computes as that does, with the same package. It reports
// false, or panics, if there is no value; then the machine says why, or takes another way.
type direct func(m *bridge.Message) (value any, ok bool)

// try reports false where d would panic, too, and where there is no d.
func (d direct) try(m *bridge.Message) (value any, ok bool) {
	if d == nil {
		return nil, false
	}
	defer func() {
		if recover() != nil {
			value, ok = nil, false
		}
	}()
	return d(m)
}

// mostSearches is how often a field may be named, since each time it is looked for again: the
// machine takes no longer than that.
const mostSearches = 2

// director makes functions of a metered program.
type director struct {
	config *conf.Config
	fields []field
	named  map[string]int // how often each of them is
}

// node returns nil for what takes the machine: what asks the meter, is not the same if it is
// evaluated twice, or is rare.
func (d *director) node(n ast.Node) direct {
	switch n := n.(type) {
	case *ast.NilNode:
		return always(nil)
	case *ast.BoolNode:
		return always(n.Value)
	case *ast.StringNode:
		return always(n.Value)
	case *ast.FloatNode:
		return always(n.Value)
	case *ast.IntegerNode:
		if n.Type().Kind() == reflect.Int {
			return always(n.Value)
		}
	case *ast.ConstantNode:
		return always(n.Value)
	case *ast.IdentifierNode:
		return d.variable(n.Value)
	case *ast.MemberNode:
		return header(n)
	case *ast.UnaryNode:
		if of := d.node(n.Node); of != nil && (n.Operator == "!" || n.Operator == "not") {
			return func(m *bridge.Message) (any, bool) {
				v, ok := of(m)
				return ok && !v.(bool), ok
			}
		}
	case *ast.BinaryNode:
		if c := d.comparison(n); c != nil {
			return c
		}
		if a, b := d.node(n.Left), d.node(n.Right); a != nil && b != nil {
			return binary(n.Operator, a, b)
		}
	case *ast.ConditionalNode:
		return conditional(d.node(n.Cond), d.node(n.Exp1), d.node(n.Exp2))
	case *ast.CallNode:
		return d.call(n)
	}
	return nil
}

func always(v any) direct { return func(*bridge.Message) (any, bool) { return v, true } }

func (d *director) variable(name string) direct {
	switch name {
	case "topic":
		return func(m *bridge.Message) (any, bool) { return m.Topic, true }
	case "payload":
		// As with fields, what is kept of a value is copied where it is kept.
		return func(m *bridge.Message) (any, bool) {
			return unsafe.String(unsafe.SliceData(m.Payload), len(m.Payload)), true
		}
	case "id":
		return func(m *bridge.Message) (any, bool) { return m.ID, true }
	case "time":
		return func(m *bridge.Message) (any, bool) { return m.Time, true }
	}
	f := d.field(name)
	if f == nil {
		return nil
	}
	return func(m *bridge.Message) (any, bool) {
		raw, ok := f.Find(m.Payload)
		if !ok {
			return nil, false
		}
		v, err := value(raw)
		return v, err == nil
	}
}

// field returns the field that a variable stands for, if it may be looked for once more.
func (d *director) field(name string) *field {
	i := slices.IndexFunc(d.fields, func(f field) bool { return f.name == name })
	d.named[name]++
	if i < 0 || d.named[name] > mostSearches {
		return nil
	}
	return &d.fields[i]
}

// comparison is for a field in front of a number, as most conditions are: no value is made of it.
func (d *director) comparison(n *ast.BinaryNode) direct {
	var holds func(sign int) bool
	switch n.Operator {
	case ">":
		holds = func(sign int) bool { return sign > 0 }
	case ">=":
		holds = func(sign int) bool { return sign >= 0 }
	case "<":
		holds = func(sign int) bool { return sign < 0 }
	case "<=":
		holds = func(sign int) bool { return sign <= 0 }
	}
	name, isName := n.Left.(*ast.IdentifierNode)
	if holds == nil || !isName {
		return nil
	}
	var whole int
	var point float64
	isInt := false
	switch c := n.Right.(type) {
	case *ast.IntegerNode:
		whole, point, isInt = c.Value, float64(c.Value), c.Type().Kind() == reflect.Int
	case *ast.FloatNode:
		point = c.Value
	default:
		return nil
	}
	f := d.field(name.Value)
	if f == nil {
		d.named[name.Value]-- // it is asked for again, in another way
		return nil
	}
	return func(m *bridge.Message) (any, bool) {
		raw, ok := f.Find(m.Payload)
		if !ok || raw == "" || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return nil, false
		}
		if isWhole(raw) {
			i, err := strconv.Atoi(raw)
			if isInt {
				return holds(cmp.Compare(i, whole)), err == nil
			}
			return holds(cmp.Compare(float64(i), point)), err == nil
		}
		x, err := strconv.ParseFloat(raw, 64)
		return holds(cmp.Compare(x, point)), err == nil
	}
}

// header is for header.name.
func header(n *ast.MemberNode) direct {
	of, isVariable := n.Node.(*ast.IdentifierNode)
	name, isText := n.Property.(*ast.StringNode)
	if !isVariable || of.Value != "header" || !isText {
		return nil
	}
	return func(m *bridge.Message) (any, bool) {
		if v, is := m.Header[name.Value]; is {
			return v, true
		}
		return nil, true
	}
}

func binary(name string, a, b direct) direct {
	var until func(v any) bool // which value of a is that of the whole
	switch name {
	case "&&", "and":
		until = func(v any) bool { return !v.(bool) }
	case "||", "or":
		until = func(v any) bool { return v.(bool) }
	case "??":
		until = func(v any) bool { return !runtime.IsNil(v) }
	}
	if until != nil {
		return func(m *bridge.Message) (any, bool) {
			if v, ok := a(m); !ok || until(v) {
				return v, ok
			}
			return b(m)
		}
	}
	_, do := operator(name)
	switch name {
	case "-":
		do = runtime.Subtract
	case "*":
		do = runtime.Multiply
	case "/":
		do = func(a, b any) any { return runtime.Divide(a, b) }
	}
	if do == nil {
		return nil
	}
	return func(m *bridge.Message) (any, bool) {
		x, ok := a(m)
		if !ok {
			return nil, false
		}
		y, ok := b(m)
		if !ok {
			return nil, false
		}
		return do(x, y), true
	}
}

func conditional(is, then, otherwise direct) direct {
	if is == nil || then == nil || otherwise == nil {
		return nil
	}
	return func(m *bridge.Message) (any, bool) {
		switch v, ok := is(m); {
		case !ok:
			return nil, false
		case v.(bool):
			return then(m)
		}
		return otherwise(m)
	}
}

// call is for functions that depend on their arguments only: those without one do not.
func (d *director) call(n *ast.CallNode) direct {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || d.config.Functions[id.Value] == nil || len(n.Arguments) == 0 {
		return nil
	}
	do := d.config.Functions[id.Value].Func
	of := make([]direct, len(n.Arguments))
	for i, arg := range n.Arguments {
		if of[i] = d.node(arg); of[i] == nil {
			return nil
		}
	}
	return func(m *bridge.Message) (any, bool) {
		args := make([]any, len(of))
		for i := range of {
			var ok bool
			if args[i], ok = of[i](m); !ok {
				return nil, false
			}
		}
		v, err := do(args...)
		return v, err == nil
	}
}
