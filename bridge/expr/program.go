package expr

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Bounds of one expression. They are far above what a person writes.
const (
	maxLength = 8 << 10 // bytes of text; bounds the parser's recursion too
	maxNodes  = 1000
	memory    = 100_000 // values made while running
)

// program is a compiled expression, safe for use by several goroutines.
type program struct {
	source string
	code   *vm.Program
	needs  needs
	pool   sync.Pool // of *machine
}

// machine is what running needs; keeping it makes running cheap.
type machine struct {
	vm  vm.VM
	env map[string]any
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
	code, err := expr.Compile(p.Text, language(&prog.needs)...)
	if err != nil {
		return nil, compileError(p, err)
	}
	prog.code = code
	prog.pool.New = func() any {
		return &machine{vm: vm.VM{MemoryBudget: memory}, env: make(map[string]any)}
	}
	return prog, nil
}

// run evaluates the program for m. The error names the expression and shows
// nothing of the message.
func (p *program) run(m *bridge.Message, seq int) (value any, err error) {
	k := p.pool.Get().(*machine)
	// A machine that panicked may be in an odd state, so it does not go back.
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, p.fail("it has no value for this message")
		}
	}()
	if err = p.needs.fill(k.env, m, seq); err == nil {
		value, err = k.vm.Run(p.code, k.env)
	}
	k.forget()
	p.pool.Put(k)
	if err != nil {
		return nil, p.fail(runReason(p.source, err))
	}
	return value, nil
}

// forget drops what belongs to the message, so that a machine in the pool does
// not keep it alive.
func (k *machine) forget() {
	clear(k.env)
	clear(k.vm.Stack[:cap(k.vm.Stack)])
	clear(k.vm.Variables)
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
