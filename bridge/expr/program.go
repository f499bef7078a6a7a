package expr

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/vm"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Bounds of one expression. They are far above what a person writes.
const (
	maxLength = 8 << 10 // bytes of text; bounds the parser's recursion too
	maxNodes  = 1000
)

// program is a compiled expression, safe for use by several goroutines.
type program struct {
	source string
	code   code
	lazy   code      // the same for messages that have all of fields; see there
	fields []field   // what it needs of the payload's JSON, if not the whole
	alone  bool      // it is nothing but one of them
	direct direct    // the same without a machine, if that can be
	pool   sync.Pool // of *machine
}

// code is what runs for a message.
type code struct {
	*vm.Program
	direct  direct
	needs   needs
	metered bool // it asks the meter
	loops   bool // it has loops
}

// machine is what running needs; keeping it makes running cheap.
type machine struct {
	vm       vm.VM
	meter    meter
	document document
	env      map[string]any
}

// compile compiles the expression of p.
func compile(p Part) (_ *program, err error) {
	source := strings.TrimSpace(p.shown())
	switch {
	case strings.TrimSpace(p.Text) == "":
		return nil, &Error{Offset: p.Offset, Message: "the expression is empty"}
	case len(p.Text) > maxLength:
		return nil, &Error{Offset: p.Offset, Message: fmt.Sprintf("the expression is longer than %d bytes", maxLength)}
	case !utf8.ValidString(p.Text):
		return nil, &Error{Offset: p.Offset, Message: "the expression is not UTF-8"}
	}
	defer func() {
		if r := recover(); r != nil {
			err = &Error{Offset: p.Offset, Message: "the expression cannot be compiled"}
		}
	}()
	prog := &program{source: source}
	if err := prog.build(p.Text, p.World); err != nil {
		return nil, compileError(p, err)
	}
	prog.pool.New = func() any { return &machine{env: make(map[string]any)} }
	return prog, nil
}

// build compiles text to what parses the payload's JSON, if it needs that, and to what does not.
func (p *program) build(text string, w *World) (err error) {
	if p.code, _, err = build(text, w, false); err != nil {
		return err
	}
	p.direct = p.code.direct
	if p.code.needs.json {
		p.lazy, p.fields, err = build(text, w, true)
		p.direct = p.lazy.direct
		if len(p.fields) == 1 && err == nil {
			id, is := p.lazy.Node().(*ast.IdentifierNode)
			p.alone = is && id.Value == p.fields[0].name
		}
	}
	return err
}

// build does what expr.Compile does, and meters the program after it was checked and optimized:
// then neither knows of the meter. If it is to be lazy, it uses fields; none if it cannot.
func build(text string, w *World, lazy bool) (c code, used []field, err error) {
	c.needs.world = w
	config := conf.CreateNew()
	for _, option := range language(&c.needs) {
		option(config)
	}
	tree, err := checker.ParseCheck(text, config)
	if err != nil {
		return c, nil, err
	}
	if err := checkKinds(&tree.Node); err != nil {
		return c, nil, err
	}
	if err := optimizer.Optimize(&tree.Node, config); err != nil {
		return c, nil, err
	}
	if lazy {
		var can bool
		if used, can = fields(&tree.Node); !can {
			return c, nil, nil
		}
		c.needs.json = false
	}
	m, err := meterProgram(&tree.Node, config, w)
	if err != nil {
		return c, nil, err
	}
	c.metered, c.loops = m.used, m.loops
	c.direct = (&director{config, used, make(map[string]int)}).node(tree.Node)
	c.Program, err = compiler.Compile(tree, config)
	return c, used, err
}

// run evaluates the program for m. The error names the expression and shows
// nothing of the message.
func (p *program) run(m *bridge.Message, seq int) (value any, err error) {
	if value, ok := p.direct.try(m); ok {
		return value, nil
	}
	k := p.pool.Get().(*machine)
	// A machine that panicked may be in an odd state, so it does not go back.
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, p.fail("it has no value for this message")
		}
	}()
	code := &p.code
	if p.fields != nil && set(k.env, p.fields, m) {
		code = &p.lazy
	}
	code.needs.fill(k.env, m, seq)
	if code.needs.json {
		k.document = document{payload: m.Payload}
		k.env[documentName] = &k.document
	}
	k.vm.MemoryBudget = uint(allowance(m))
	if code.metered {
		k.meter.left = allowance(m)
		k.env[meterName] = &k.meter
	}
	value, err = k.vm.Run(code.Program, k.env)
	p.forget(k)
	if err != nil {
		return nil, p.fail(runReason(p.source, err))
	}
	return value, nil
}

// forget drops what belongs to the message, so that a machine in the pool does
// not keep it alive.
func (p *program) forget(k *machine) {
	if cap(k.vm.Stack) > maxNodes { // one message has made it large
		return
	}
	clear(k.env)
	k.document = document{}
	clear(k.vm.Stack[:cap(k.vm.Stack)])
	clear(k.vm.Variables)
	if p.code.loops { // the machine keeps what they went through
		k.vm = vm.VM{Stack: k.vm.Stack, Variables: k.vm.Variables}
	}
	p.pool.Put(k)
}

// text appends the text of value, which p has made of m.
func (p *program) text(b []byte, m *bridge.Message, value any) ([]byte, error) {
	switch value.(type) {
	case string, bool, int, float64, nil:
	default:
		if err := p.affordable(m, value); err != nil {
			return nil, err
		}
	}
	b, err := appendValue(b, value)
	if err != nil {
		return nil, p.fail(err.Error())
	}
	return b, nil
}

// affordable says whether a value may be written.
func (p *program) affordable(m *bridge.Message, value any) error {
	limit := meter{allowance(m)}
	if times(4, whole)(&limit, []any{value}); limit.left < 0 {
		return p.fail(errTooMuch.Error())
	}
	return nil
}

func (p *program) fail(why string) error {
	return fmt.Errorf("evaluate %s: %s", shorten(p.source), why)
}

func shorten(text string) string {
	const most = 80
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return text
}
