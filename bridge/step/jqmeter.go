package step

import (
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// jqMeter charges for what one step of a program may take far more time or memory for than other
// steps. Programs are changed for it before they are compiled: what is dangerous asks it first.
type jqMeter struct {
	steps    *stepLimit // of the message
	most     int        // the greatest index that may be made
	items    int        // that a list of the message may have
	patterns map[string]*regexp.Regexp
}

// jqError is one that shows nothing of a message.
type jqError string

func (e jqError) Error() string { return string(e) }

const (
	errSteps  = jqError("the program takes more than max_steps for this message")
	errTimeUp = jqError("the program takes more time for this message than max_steps allows")
	errHeld   = jqError("the program holds more memory for this message than it may: 256 MiB")
	errIndex  = jqError("the program writes to an index far beyond the size of this message")
)

// jqPrelude has what programs are made to call: two sides of an operator in the order in which jq
// takes them, and names of its own.
const jqPrelude = `
	def now: $__clock__;
	def _add(l; r): r as $r | l as $l | _paid(0; $l; $r) | $l + $r;
	def _subtract(l; r): r as $r | l as $l | _paid(1; $l; $r) | $l - $r;
	def _multiply(l; r): r as $r | l as $l | _paid(2; $l; $r) | $l * $r;
	def _transpose: _rows | transpose;
	def _tonumber: _digits | tonumber;
	def _fromjson: _digits | fromjson;
	def _divide(l; r): r as $r | l as $l | $l / ($l | _pieces($r));
	def _flatten(n): _whole | flatten(n);
	.`

func (m *jqMeter) options() []gojq.CompilerOption {
	m.patterns = make(map[string]*regexp.Regexp)
	return []gojq.CompilerOption{
		gojq.WithFunction("_copy", 0, 0, func(v any, _ []any) any { return m.pay(copyCost(v), v) }),
		gojq.WithFunction("_whole", 0, 0, func(v any, _ []any) any { return m.pay(m.wholeCost(v), v) }),
		gojq.WithFunction("_pieces", 1, 1, func(v any, a []any) any { return m.pay(piecesCost(v, a[0]), a[0]) }),
		gojq.WithFunction("_paid", 3, 3, func(_ any, a []any) any { return m.pay(operatorCost(a[0], a[1], a[2]), nil) }),
		gojq.WithFunction("_rows", 0, 0, func(v any, _ []any) any { return m.pay(transposeCost(v), v) }),
		gojq.WithFunction("_digits", 0, 0, func(v any, _ []any) any { return m.pay(digitsCost(v), v) }),
		gojq.WithFunction("_pairs", 1, 1, func(v any, a []any) any { return m.pay(weight(v)*weight(a[0]), a[0]) }),
		gojq.WithFunction("_between", 1, 1, func(v any, a []any) any { return m.pay(joinCost(v, a[0]), a[0]) }),
		gojq.WithFunction("_part", 1, 1, func(v any, a []any) any {
			times, _ := gojq.ToInt(a[0])
			return m.pay(times*m.wholeCost(v), v)
		}),
		gojq.WithFunction("_at", 1, 1, func(_ any, a []any) any { return m.reach(a[0], []any{a[0]}) }),
		gojq.WithFunction("_path", 1, 1, func(_ any, a []any) any { return m.reach(a[0], a[0]) }),
		gojq.WithFunction("_event", 1, 1, func(_ any, a []any) any {
			if event, ok := a[0].([]any); ok && len(event) > 0 {
				return m.reach(a[0], event[0])
			}
			return a[0]
		}),
		gojq.WithFunction("_once", 1, 1, func(v any, a []any) any { return m.match(v, a[0]) }),
		gojq.WithFunction("_all", 1, 1, func(v any, a []any) any { return m.match(v, a[0], "") }),
		gojq.WithFunction("_flags", 1, 1, func(v any, a []any) any { return m.match(v, a[0], anyFlags...) }),
	}
}

// pay returns v, or an error that no program can go on from.
func (m *jqMeter) pay(steps int, v any) any {
	if m.steps.left -= min(max(steps, 0), 1<<40); m.steps.left < 0 {
		return errSteps
	}
	return v
}

// weight is how many others something may have to be compared with.
func weight(v any) int {
	switch v := v.(type) {
	case []any:
		n := 1
		for _, item := range v {
			n += weight(item)
		}
		return n
	case map[string]any:
		n := 1
		for _, item := range v {
			n += weight(item)
		}
		return n
	case string:
		return 1 + len(v)/1024
	}
	return 1
}

// bytesOfStep is what can be copied in the time of a step.
const bytesOfStep = 256

// operatorSize is how many bytes of a value an operator copies, but for those of an object.
func operatorSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return 16 * len(v)
	case *big.Int:
		return v.BitLen() / 8
	case json.Number:
		return len(v)
	}
	return 0
}

func operatorCost(name, l, r any) int {
	size := operatorSize
	_, isText := l.(string)
	_, isTextToo := r.(string)
	ls, _ := l.([]any)
	rs, _ := r.([]any)
	lo, isObject := l.(map[string]any)
	ro, _ := r.(map[string]any)
	switch {
	case name == 0 || isObject:
		return (size(l) + size(r) + 80*(len(lo)+len(ro))) / bytesOfStep
	case name == 1:
		return len(ls) * len(rs)
	case isText || isTextToo:
		n := 0.0
		for _, side := range []any{l, r} {
			if x, ok := gojq.ToFloat64(side); ok {
				n = x
			}
		}
		return int(min(max(n, 0), 1<<32)) * max(size(l), size(r)) / bytesOfStep
	}
	return size(l) * size(r) / bytesOfStep / 64
}

// copyCost is that of a list of what is in v, or of each character of it.
func copyCost(v any) int {
	if text, ok := v.(string); ok {
		return 16 * len(text) / bytesOfStep
	}
	return operatorCost(0, v, nil)
}

// wholeCost is that of copying v with all that is in it. It is not looked for further than there
// are steps: what was made of one list many times may be endless.
func (m *jqMeter) wholeCost(v any) int {
	most := m.steps.left
	if most < 0 {
		return 0
	}
	left := (most + 1) * bytesOfStep
	var visit func(v any)
	visit = func(v any) {
		left -= operatorSize(v)
		switch v := v.(type) {
		case []any:
			for i := 0; i < len(v) && left > 0; i++ {
				visit(v[i])
			}
		case map[string]any:
			left -= 80 * len(v)
			for k, item := range v {
				if left -= len(k); left <= 0 {
					return
				}
				visit(item)
			}
		}
	}
	visit(v)
	return most + 1 - max(left, 0)/bytesOfStep
}

func piecesCost(text, between any) int {
	l, isText := text.(string)
	r, isTextToo := between.(string)
	if !isText || !isTextToo {
		return 0
	}
	return (len(l) + 16*strings.Count(l, r)) / bytesOfStep
}

func transposeCost(v any) int {
	rows, _ := v.([]any)
	longest := 0
	for _, row := range rows {
		if row, ok := row.([]any); ok {
			longest = max(longest, len(row))
		}
	}
	return len(rows) * longest * 16 / bytesOfStep
}

// digitsCost is that of computing with the longest number in a text: it grows with the square.
func digitsCost(v any) int {
	text, _ := v.(string)
	longest, run := 0, 0
	for i := range len(text) {
		if run++; text[i] < '0' || text[i] > '9' {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest * longest / bytesOfStep
}

// joinCost is that of what join puts between the values of a list or an object.
func joinCost(v, between any) int {
	list, _ := v.([]any)
	object, _ := v.(map[string]any)
	return (len(list) + len(object)) * operatorSize(between) / bytesOfStep
}

// reach returns v, unless the path has an index that may make a list much larger than the message. A
// list as an index is looked for at each place of another.
func (m *jqMeter) reach(v, path any) any {
	keys, _ := path.([]any)
	cost := 0
	for _, key := range keys {
		if x, ok := gojq.ToFloat64(key); ok && x > float64(m.most) {
			return errIndex
		}
		if list, ok := key.([]any); ok {
			cost += weight(list) * m.items
		}
	}
	return m.pay(cost, v)
}

// anyFlags are what flags that jq knows may put in front of a pattern for.
var anyFlags = []string{"", "(?i)", "(?s)", "(?is)"}

// match charges for a text in which a pattern is looked for. For each place where it is found the
// library goes through the text some times.
func (m *jqMeter) match(text, pattern any, flags ...string) any {
	s, isText := text.(string)
	re := pattern
	if list, ok := pattern.([]any); ok && len(list) > 0 { // and flags
		re, flags = list[0], anyFlags
	}
	p, ok := re.(string)
	if !isText || !ok {
		return pattern
	}
	n := len(s) * (16 + len(p)) / bytesOfStep
	each, found := 1+len(s)/8, 0
	for _, f := range flags {
		if m.steps.left < n {
			break
		}
		r := m.patterns[f+p]
		if r == nil {
			var err error
			if r, err = regexp.Compile(f + p); err != nil {
				break // which the program will be told
			}
			m.patterns[f+p] = r
		}
		found = max(found, len(r.FindAllStringIndex(s, m.steps.left/each+1)))
	}
	return m.pay(n+found*each, pattern)
}

// meter makes a program ask before what is dear.
func (m *jqMeter) meter(program *gojq.Query) {
	own := make(map[string]bool)
	walk(reflect.ValueOf(program), func(node any) {
		if f, ok := node.(*gojq.FuncDef); ok {
			own[f.Name] = true
		}
	})
	walk(reflect.ValueOf(program), func(node any) {
		switch n := node.(type) {
		case *gojq.Query:
			switch name := map[gojq.Operator]string{
				gojq.OpAdd: "_add", gojq.OpSub: "_subtract", gojq.OpMul: "_multiply", gojq.OpDiv: "_divide",
			}[n.Op]; {
			case name == "" || n.Op != gojq.OpMul && (isNumber(n.Left) || isNumber(n.Right)):
			default:
				*n = *call(name, n.Left, n.Right)
			}
		case *gojq.Term:
			if ask := askOf(n); ask != "" && (n.Func == nil || !own[n.Func.Name]) {
				of := &gojq.Query{Term: &gojq.Term{Type: n.Type, Func: n.Func, Format: n.Format}}
				n.Type, n.Func, n.Format = gojq.TermTypeQuery, nil, ""
				n.Query = &gojq.Query{Left: call(ask), Op: gojq.OpPipe, Right: of}
			}
		case *gojq.String: // of parts, which are added one after another
			times := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeNumber, Number: strconv.Itoa(len(n.Queries))}}
			for i, part := range n.Queries {
				if part.Term == nil || part.Term.Str == nil {
					n.Queries[i] = &gojq.Query{Term: &gojq.Term{
						Type:  gojq.TermTypeQuery,
						Query: &gojq.Query{Left: part, Op: gojq.OpPipe, Right: call("_part", times)},
					}}
				}
			}
		case *gojq.Index:
			if !n.IsSlice && n.Start != nil && !isNumber(n.Start) {
				n.Start = call("_at", n.Start)
			}
		case *gojq.Func:
			if own[n.Name] {
				return
			}
			switch ask := map[string]string{
				"contains": "_pairs", "inside": "_pairs", "indices": "_pairs", "index": "_pairs", "rindex": "_pairs",
				"setpath": "_path", "getpath": "_path", "nth": "_at", "fromstream": "_event",
				"join": "_between", "split": "_pieces", "test": "_once", "match": "_once", "capture": "_once", "sub": "_once",
				"scan": "_all", "splits": "_all", "gsub": "_all",
			}[n.Name]; {
			case len(n.Args) == 0 && slices.Contains([]string{"transpose", "tonumber", "fromjson"}, n.Name),
				len(n.Args) == 1 && n.Name == "flatten":
				n.Name = "_" + n.Name
			case n.Name == "JOIN" && len(n.Args) > 1: // an index, the expressions for places in it, …
				at := min(len(n.Args)-1, 2)
				n.Args[at] = call("_at", n.Args[at])
			case len(n.Args) == 3 && ask != "",
				len(n.Args) == 2 && slices.Contains([]string{"match", "capture", "scan", "splits", "split"}, n.Name):
				n.Args[0] = call("_flags", n.Args[0])
			case ask != "" && len(n.Args) > 0:
				n.Args[0] = call(ask, n.Args[0])
			}
		}
	})
}

// askOf is what to ask before something that copies its input; empty if it does not.
func askOf(n *gojq.Term) string {
	if n.Type == gojq.TermTypeFormat && n.Str == nil {
		return "_whole"
	}
	if n.Type != gojq.TermTypeFunc || len(n.Func.Args) > 0 {
		return ""
	}
	switch n.Func.Name {
	case "tojson", "tostring", "flatten", "add":
		return "_whole"
	case "reverse", "sort", "unique", "keys", "explode", "implode", "ascii_downcase", "ascii_upcase":
		return "_copy"
	}
	return ""
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func isNumber(q *gojq.Query) bool {
	return q.Term != nil && q.Term.Type == gojq.TermTypeNumber && len(q.Term.SuffixList) == 0
}

// walk visits all pointers below v, those within others first.
func walk(v reflect.Value, visit func(node any)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), visit)
			visit(v.Interface())
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			walk(f, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), visit)
		}
	}
}
