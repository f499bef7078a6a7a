package expr

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// constant compiles what has to be written out, since a message could choose one that takes long or
// reaches what is none of its business, and since mistakes in it are found before the start. It
// reports whether name is of a function that has such arguments.
func (r *metering) constant(node *ast.Node, name string, args []ast.Node) bool {
	switch name {
	case "env":
		r.env(node, args[0])
	case "capture":
		if p, size := r.pattern(name, args[1]); p != nil {
			r.bind(node, name+" "+p.String(), patternCost(size), !short(args[0]), capture(p), args[0])
		}
	case "parseTime", "format":
		r.time(node, name, args)
	default:
		return false
	}
	return true
}

// bind replaces node by a call of do, which asks the meter if it has to.
func (r *metering) bind(node *ast.Node, name string, c cost, grows bool, do function, arg ast.Node) {
	if r.all || grows {
		r.ask(node, name, c, do, arg)
	} else {
		r.replace(node, name, do, arg)
	}
}

// replace replaces node by a call of do. A name stands for the same function wherever it is used.
func (r *metering) replace(node *ast.Node, name string, do function, args ...ast.Node) {
	r.config.Functions[name] = &builtin.Function{Name: name, Func: do}
	call := &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args}
	call.SetNature(*(*node).Nature())
	ast.Patch(node, call)
}

// wrong notes a mistake of the author's at n.
func (r *metering) wrong(n ast.Node, why string) {
	if r.err == nil {
		r.err = &file.Error{Location: n.Location(), Message: why}
	}
}

func (r *metering) text(of string, n ast.Node) (string, bool) {
	text, ok := n.(*ast.StringNode)
	if !ok {
		r.wrong(n, of+" must be a text in quotes")
		return "", false
	}
	return text.Value, true
}

// env puts the text of the variable in place of node.
func (r *metering) env(node *ast.Node, arg ast.Node) {
	name, ok := r.text("the name in env", arg)
	if !ok {
		return
	}
	value, ok := r.world.getenv(name)
	if !ok {
		r.wrong(arg, fmt.Sprintf("the environment variable %s is not set", name))
		return
	}
	text := &ast.StringNode{Value: value}
	text.SetNature(*(*node).Nature())
	ast.Patch(node, text)
	r.secret = true
}

// filled returns the expression with what env("NAME") stands for in it, for a process with another
// environment.
func (p Part) filled() string {
	if !strings.Contains(p.Text, "env") {
		return p.Text
	}
	tree, err := parser.Parse(p.Text)
	if err != nil {
		return p.Text
	}
	found := false
	ast.Walk(&tree.Node, visitor(func(n *ast.Node) {
		call, ok := (*n).(*ast.CallNode)
		if !ok || len(call.Arguments) != 1 || call.Callee.String() != "env" {
			return
		}
		if name, ok := call.Arguments[0].(*ast.StringNode); ok {
			value, _ := p.World.getenv(name.Value)
			ast.Patch(n, &ast.StringNode{Value: value})
			found = true
		}
	}))
	if !found {
		return p.Text
	}
	return " " + tree.Node.String() + " "
}

// pattern compiles a pattern, and returns how large what it does at each character is.
func (r *metering) pattern(of string, n ast.Node) (*regexp.Regexp, int) {
	text, ok := r.text("the pattern of "+of, n)
	if !ok {
		return nil, 0
	}
	re, err := regexp.Compile(text)
	switch {
	case err != nil && r.secret: // its text may have come from the environment
		r.wrong(n, "the pattern of "+of+" cannot be compiled")
		return nil, 0
	case err != nil:
		r.wrong(n, err.Error())
		return nil, 0
	case of == "capture" && re.NumSubexp() == 0:
		r.wrong(n, "the pattern of capture has no group; write what to take in ( )")
		return nil, 0
	}
	size := 0
	if tree, err := syntax.Parse(text, syntax.Perl); err == nil {
		if code, err := syntax.Compile(tree.Simplify()); err == nil {
			size = len(code.Inst)
		}
	}
	return re, size
}

// patternCost is in the worst case the size of the pattern times that of the text.
func patternCost(size int) cost {
	return func(m *meter, args []any) { m.left -= 1 + length(args[0])*(4+size)/16 }
}

// capture returns the groups of the first match, nil if there is none: by name if they have names,
// else by number, where 0 is all that matched. A group that took no part is nil.
func capture(re *regexp.Regexp) function {
	names := re.SubexpNames()
	named := slices.ContainsFunc(names, func(name string) bool { return name != "" })
	return func(a ...any) (any, error) {
		text, ok := a[0].(string)
		if !ok {
			return nil, unlike("capture", "a text", a[0])
		}
		found := re.FindStringSubmatchIndex(text)
		if found == nil {
			return nil, nil
		}
		list, mapping := make([]any, len(names)), make(map[string]any)
		for i, name := range names {
			if from := found[2*i]; from >= 0 {
				list[i] = text[from:found[2*i+1]]
			}
			if name != "" {
				mapping[name] = list[i]
			}
		}
		if named {
			return mapping, nil
		}
		return list, nil
	}
}

// time is for parseTime and format.
func (r *metering) time(node *ast.Node, name string, args []ast.Node) {
	text, zone := time.RFC3339, time.UTC
	if len(args) > 1 {
		var ok bool
		if text, ok = r.text("the layout of "+name, args[1]); !ok {
			return
		}
	}
	if len(args) > 2 {
		where, ok := r.text("the time zone of "+name, args[2])
		if !ok {
			return
		}
		var err error
		if zone, err = time.LoadLocation(where); err != nil {
			r.wrong(args[2], "there is no such time zone, or this machine does not know it; write one like \"Europe/Berlin\"")
			return
		}
	}
	if some := time.Date(1987, 11, 28, 19, 48, 59, 123456789, time.UTC); some.Format(text) == text {
		r.wrong(args[1], "the layout has nothing of a time in it; write it as 2006-01-02 15:04:05 would look")
		return
	}
	l := layout{text, zone}
	do := l.parse
	if name == "format" {
		do = l.format(len(args) > 2)
	}
	r.bind(node, fmt.Sprintf("%s %d %q %s", name, len(args), text, zone), times(4, texts), false, do, args[0])
}
