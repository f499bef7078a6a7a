package expr

import (
	"fmt"
	"reflect"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Condition compiles the expression of p, see [Condition].
func (p Part) Condition() (bridge.Condition, error) {
	prog, err := compile(p)
	if err != nil {
		return nil, err
	}
	// The compiler's own check would take nil for false, and a misspelt field
	// for a condition that is never met.
	if t := prog.code.Node().Type(); t != nil && t.Kind() != reflect.Bool && t.Kind() != reflect.Interface {
		return nil, &Error{Offset: p.Offset, Message: "a condition must be true or false, and this is " +
			kindName(t.String())}
	}
	return &condition{text: p.filled(), program: prog}, nil
}

type condition struct {
	text    string // what it was compiled from
	program *program
	counter
}

var _ bridge.Condition = (*condition)(nil)

// String returns what c was compiled from.
func (c *condition) String() string { return c.text }

func (c *condition) Match(m *bridge.Message) (bool, error) {
	v, err := c.program.run(m, c.next(c.program))
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, c.program.fail(fmt.Sprintf("the value is %s, neither true nor false", kindName(fmt.Sprintf("%T", v))))
	}
	return yes, nil
}
