package expr

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm/runtime"
)

// meterName is that of the variable which holds the meter. Nobody can write it.
const meterName = "the meter"

// metering replaces the operations of a checked program that may take long by ones which ask the
// meter first. What a program does once, in proportion to its message, stays as it is.
type metering struct {
	config *conf.Config
	loops  bool // it has loops
	all    bool // it has loops or variables, by which anything can be done, or grow, many times
	used   bool // something asks the meter
	world  *World
	secret bool // it has texts from the environment
	err    *file.Error
}

// meterProgram makes the program at root ask its meter.
func meterProgram(root *ast.Node, config *conf.Config, w *World) (*metering, error) {
	r := &metering{config: config, world: w}
	ast.Walk(root, visitor(func(n *ast.Node) {
		switch n := (*n).(type) {
		case *ast.BuiltinNode:
			r.loops = r.loops || library(n.Name).Predicate
		case *ast.VariableDeclaratorNode:
			r.all = true
		}
	}))
	r.all = r.all || r.loops
	ast.Walk(root, visitor(r.visit))
	if r.err != nil {
		return nil, r.err
	}
	return r, nil
}

type visitor func(*ast.Node)

func (v visitor) Visit(n *ast.Node) { v(n) }

type function = func(...any) (any, error)

func (r *metering) visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "json" {
			r.replace(node, parsedName, parse, &ast.IdentifierNode{Value: documentName})
		}
	case *ast.BinaryNode:
		r.binary(node, n)
	case *ast.CallNode:
		r.call(node, n)
	case *ast.BuiltinNode:
		r.builtin(node, n)
	case *ast.MemberNode:
		r.shown(&n.Property)
	case *ast.SliceNode:
		r.shown(&n.From)
		r.shown(&n.To)
	case *ast.PairNode:
		r.shown(&n.Key)
	}
}

// ask replaces node by a call of do, whose cost the meter has to allow first. A name stands for the
// same cost and function wherever it is used.
func (r *metering) ask(node *ast.Node, name string, c cost, do function, args ...ast.Node) {
	r.used = true
	name = "metered " + name
	r.replace(node, name, func(args ...any) (any, error) {
		m := args[0].(*meter)
		if c(m, args[1:]); m.left < 0 {
			return nil, errTooMuch
		}
		return do(args[1:]...)
	}, append([]ast.Node{&ast.IdentifierNode{Value: meterName}}, args...)...)
}

func itself(args ...any) (any, error) { return args[0], nil }

// shown is for values that are looked up, or quoted by the language's errors.
func (r *metering) shown(node *ast.Node) {
	if r.all && *node != nil && !fixed(*node) {
		r.ask(node, "value", whole, itself, *node)
	}
}

func (r *metering) binary(node *ast.Node, n *ast.BinaryNode) {
	c, do := operator(n.Operator)
	small := fixed(n.Left) || fixed(n.Right)
	switch n.Operator {
	case "matches":
		r.matches(node, n)
		return
	case "in":
		small = fixed(n.Left) && fixed(n.Right)
	case "contains":
		small = fixed(n.Left)
	case "+":
		small = numeric(n.Left) || numeric(n.Right)
	}
	if r.all && do != nil && !small {
		r.ask(node, n.Operator, c, func(args ...any) (any, error) { return do(args[0], args[1]), nil }, n.Left, n.Right)
	}
}

// operator returns nil for those that take no longer for larger values.
func operator(name string) (cost, func(a, b any) any) {
	test := func(f func(a, b any) bool) func(a, b any) any {
		return func(a, b any) any { return f(a, b) }
	}
	text := func(f func(a, b string) bool) func(a, b any) any {
		return test(func(a, b any) bool { return !runtime.IsNil(a) && !runtime.IsNil(b) && f(a.(string), b.(string)) })
	}
	switch name {
	case "==":
		return equality, test(runtime.Equal)
	case "!=":
		return equality, test(func(a, b any) bool { return !runtime.Equal(a, b) })
	case "<":
		return shorter, test(runtime.Less)
	case "<=":
		return shorter, test(runtime.LessOrEqual)
	case ">":
		return shorter, test(runtime.More)
	case ">=":
		return shorter, test(runtime.MoreOrEqual)
	case "in":
		return membership, test(runtime.In)
	case "+":
		return texts, runtime.Add
	case "contains":
		return texts, text(strings.Contains)
	case "startsWith":
		return shorter, text(strings.HasPrefix)
	case "endsWith":
		return shorter, text(strings.HasSuffix)
	}
	return nil, nil
}

// matches refuses patterns that are made at run time.
func (r *metering) matches(node *ast.Node, n *ast.BinaryNode) {
	re, size := r.pattern("matches", n.Right)
	if re == nil || !r.all && short(n.Left) {
		return
	}
	r.ask(node, "matches "+re.String(), patternCost(size), func(args ...any) (any, error) {
		if text, ok := args[0].([]byte); ok {
			return re.Match(text), nil
		}
		return !runtime.IsNil(args[0]) && re.MatchString(args[0].(string)), nil
	}, n.Left)
}

func (r *metering) call(node *ast.Node, n *ast.CallNode) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		if m, is := n.Callee.(*ast.MemberNode); is && ofJSON(m.Node) {
			r.wrong(m.Property, "JSON has no functions, which are written round(x, 1) and not x.round(1)")
		}
		for i := range n.Arguments {
			r.shown(&n.Arguments[i])
		}
		return
	}
	if f := r.config.Functions[id.Value]; f != nil && !r.constant(node, id.Value, n.Arguments) {
		r.function(node, id.Value, f.Func, n.Arguments)
	}
}

// ofJSON reports whether n is the payload's JSON or a part of it.
func ofJSON(n ast.Node) bool {
	for {
		switch inner := n.(type) {
		case *ast.MemberNode:
			n = inner.Node
		case *ast.CallNode:
			id, is := inner.Callee.(*ast.IdentifierNode)
			return is && id.Value == parsedName
		default:
			return false
		}
	}
}

func (r *metering) builtin(node *ast.Node, n *ast.BuiltinNode) {
	f := library(n.Name)
	if f.Predicate {
		r.loop(n)
		return
	}
	do := f.Func
	switch {
	case f.Fast != nil:
		do = func(args ...any) (any, error) { return f.Fast(args[0]), nil }
	case f.Safe != nil:
		do = func(args ...any) (any, error) { value, _, err := f.Safe(args...); return value, err }
	}
	r.function(node, n.Name, do, n.Arguments)
}

func (r *metering) function(node *ast.Node, name string, do function, args []ast.Node) {
	c, grows := functionCost(name)
	small := len(args) > 0 && short(args[0]) && fixed(args[1:]...) && name != "repeat" ||
		name == "trim" && fixed(args[1:]...) // a cutset of the author's
	if r.all || grows && !small {
		r.ask(node, name, c, do, args...)
	}
}

// functionCost returns the cost of a function, and whether what it makes, or the time it takes, may
// be far larger than its arguments.
func functionCost(name string) (c cost, grows bool) {
	switch name {
	case "len", "first", "last", "get", "take", "int", "float", "duration", "now":
		return texts, false
	case "timezone": // may read a file
		return func(m *meter, args []any) { texts(m, args); m.left -= 1000 }, false
	case "concat", "reverse", "keys", "values", "toPairs":
		return lengths, false
	case "replace":
		return replacing, true
	case "repeat":
		return repeating, true
	case "join":
		return joining, true
	case "split", "splitAfter":
		return splitting, true
	case "sort", "median":
		return times(20, whole), true
	case "uniq":
		return comparisons, true
	case "trim":
		return trimming, true
	case "toJSON", "string":
		return times(4, whole), true
	case "fromJSON":
		return times(8, texts), true
	}
	for _, f := range additions(nil) {
		if f.name == name {
			return f.cost, f.grows
		}
	}
	return whole, false
}

// loop charges for a loop when it begins: its length times the size of what is done in it.
func (r *metering) loop(n *ast.BuiltinNode) {
	// The optimizer's place for what a map does with what a filter lets through.
	ast.Walk(&n.Map, visitor(r.visit))
	weight := 1
	weigh := visitor(func(n *ast.Node) {
		weight++
		if _, ok := (*n).(*ast.MapNode); ok {
			weight += 20 // what an empty one takes in memory
		}
	})
	for i := range n.Arguments[1:] {
		ast.Walk(&n.Arguments[i+1], weigh)
	}
	ast.Walk(&n.Map, weigh)
	if n.Name == "sortBy" || n.Name == "groupBy" {
		weight += 20
		if body, ok := n.Arguments[1].(*ast.PredicateNode); ok {
			r.ask(&body.Node, "key", times(20, whole), itself, body.Node)
		}
	}
	c := func(m *meter, args []any) { m.left -= 1 + weight*length(args[0]) }
	r.ask(&n.Arguments[0], fmt.Sprint("loop ", weight), c, itself, n.Arguments[0])
}

func library(name string) *builtin.Function { return builtin.Builtins[builtin.Index[name]] }

// fixed reports whether the author of the program wrote, or its type says, that values are small.
func fixed(nodes ...ast.Node) bool {
	for _, n := range nodes {
		switch n.(type) {
		case *ast.StringNode, *ast.NilNode, *ast.ConstantNode:
			continue
		}
		if !numeric(n) && n.Type().Kind() != reflect.Bool {
			return false
		}
	}
	return true
}

func numeric(n ast.Node) bool {
	k := n.Type().Kind()
	return k == reflect.Int || k == reflect.Float64
}

// short reports whether n is the topic or the identity, which protocols keep short, or fixed.
func short(n ast.Node) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && (id.Value == "topic" || id.Value == "id") || fixed(n)
}
