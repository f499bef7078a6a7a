package expr

import (
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm/runtime"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A step is one value looked at or made, or eight bytes of text. An evaluation may take some for
// each byte of its payload, so that going through a payload a few times always works.
const (
	baseSteps    = 1 << 20
	stepsPerByte = 8
	mostSteps    = 1 << 24
	maxDepth     = 10_000 // lists within lists; bounds the stack of whoever goes through a value
)

const errTooMuch = reason("it takes more steps or memory than a message of this size may; let it go through less")

func allowance(m *bridge.Message) int { return min(baseSteps+stepsPerByte*len(m.Payload), mostSteps) }

// meter counts the steps that an evaluation has left.
type meter struct{ left int }

// cost takes from a meter what an operation on args costs.
type cost func(m *meter, args []any)

func texts(m *meter, args []any) {
	m.left--
	for _, a := range args {
		switch a := a.(type) {
		case string:
			m.left -= len(a) / 8
		case []byte:
			m.left -= len(a) / 8
		}
	}
}

// lengths is the cost of copying lists, without what is in their items.
func lengths(m *meter, args []any) {
	texts(m, args)
	for _, a := range args {
		if _, ok := a.(string); !ok {
			m.left -= length(a)
		}
	}
}

// whole is the cost of looking at everything that is in args.
func whole(m *meter, args []any) {
	for _, a := range args {
		m.visit(a, 0)
	}
}

// times returns the cost of doing n times what c is the cost of.
func times(n int, c cost) cost {
	return func(m *meter, args []any) {
		before := m.left
		c(m, args)
		m.left -= (n - 1) * (before - m.left)
	}
}

// visit stops as soon as no step is left: what was made of one list many times is small in memory
// and may yet be endless to go through.
func (m *meter) visit(v any, depth int) {
	m.left--
	if depth > maxDepth {
		m.left = -1
	}
	if m.left < 0 {
		return
	}
	switch v := v.(type) {
	case nil, bool, int, float64, uint64:
	case string:
		m.left -= len(v) / 8
	case []byte:
		m.left -= len(v) / 8
	case json.Number:
		m.left -= len(v) / 8
	case []any:
		for _, item := range v {
			m.visit(item, depth+1)
		}
	case map[string]any:
		for k, item := range v {
			m.left -= len(k) / 8
			m.visit(item, depth+1)
		}
	default:
		m.reflected(reflect.ValueOf(v), depth)
	}
}

func (m *meter) reflected(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			m.visit(v.Index(i).Interface(), depth+1)
		}
	case reflect.Map:
		for k, item := range v.Seq2() {
			m.visit(k.Interface(), depth+1)
			m.visit(item.Interface(), depth+1)
		}
	}
}

func length(v any) int {
	if list, ok := v.([]any); ok {
		return len(list)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.String:
		return r.Len()
	}
	return 0
}

// shorter is the cost of comparing two texts that may differ at their end.
func shorter(m *meter, args []any) {
	a, _ := args[0].(string)
	b, _ := args[1].(string)
	m.left -= 1 + min(len(a), len(b))/8
}

func equality(m *meter, args []any) {
	if _, ok := args[0].(string); ok {
		shorter(m, args)
	} else {
		m.visit(args[0], 0)
	}
}

func membership(m *meter, args []any) {
	m.visit(args[0], 0)
	if reflect.ValueOf(args[1]).Kind() != reflect.Map {
		m.visit(args[1], 0)
	}
}

func replacing(m *meter, args []any) {
	text, _ := args[0].(string)
	before, _ := args[1].(string)
	after, _ := args[2].(string)
	found := strings.Count(text, before)
	if len(args) > 3 {
		if most := runtime.ToInt(args[3]); most >= 0 {
			found = min(found, most)
		}
	}
	m.left -= 1 + (2*len(text)+found*max(len(after)-len(before), 0))/8
}

func repeating(m *meter, args []any) {
	text, _ := args[0].(string)
	m.left -= 1 + min(max(runtime.ToInt(args[1]), 0), mostSteps)*len(text)/8
}

func joining(m *meter, args []any) {
	m.visit(args[0], 0)
	if len(args) > 1 {
		glue, _ := args[1].(string)
		m.left -= length(args[0]) * len(glue) / 8
	}
}

func splitting(m *meter, args []any) {
	text, _ := args[0].(string)
	between, _ := args[1].(string)
	parts := utf8.RuneCountInString(text)
	if between != "" {
		parts = strings.Count(text, between)
	}
	m.left -= 1 + len(text)/8 + parts
}

// trimming is the cost of looking for each character of a text in a set of them.
func trimming(m *meter, args []any) {
	whole(m, args)
	if len(args) > 1 {
		text, _ := args[0].(string)
		set, _ := args[1].(string)
		m.left -= len(text) * (len(set) / 8)
	}
}

// comparisons is the cost of comparing every item with every other one.
func comparisons(m *meter, args []any) {
	times(1+length(args[0])/16, whole)(m, args)
}
