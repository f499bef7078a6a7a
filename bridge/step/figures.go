package step

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// figures are the functions of a window, and what they are of.
type figures struct {
	functions []string
	values    []bridge.Value
	names     [][]byte // of the values, as JSON; empty if there is one that needs none

	numbers, extremes, all, list, ends bool // what has to be known of the values

	space  []byte
	raw    [][]byte  // the values of a message, in space
	number []float64 // what they are, if that has to be known
}

func newFigures(s *windowSettings) *figures {
	f := &figures{functions: s.functions()}
	if s.Value != nil {
		f.values = []bridge.Value{s.Value}
	}
	for _, field := range s.Values {
		f.values, f.names = append(f.values, field.Value), append(f.names, quoted(field.Name))
	}
	for _, name := range f.functions {
		switch name {
		case "min", "max":
			f.numbers, f.extremes = true, true
		case "median", "p95":
			f.numbers, f.all = true, true
		case "first", "last":
			f.ends = true
		case "delta":
			f.numbers, f.ends = true, true
		case "list":
			f.list = true
		default:
			f.numbers = true
		}
	}
	f.raw, f.number = make([][]byte, len(f.values)), make([]float64, len(f.values))
	return f
}

// quoted returns text as JSON.
func quoted(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a text can be
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var errNumber = errors.New("the value is not a finite number; write float(…) if it is one in a text")

// read finds the values of a message.
func (f *figures) read(m *bridge.Message) (err error) {
	f.space = f.space[:0]
	for i, v := range f.values {
		before := len(f.space)
		if f.space, err = v.AppendJSON(f.space, m); err == nil {
			f.raw[i] = f.space[before:]
			if f.numbers {
				f.number[i], err = number(f.raw[i])
			}
		}
		if err != nil && len(f.names) > 0 {
			return fmt.Errorf("values.%s: %w", bytes.Trim(f.names[i], `"`), err)
		} else if err != nil {
			return fmt.Errorf("value: %w", err)
		}
	}
	return nil
}

// number returns the number that a value is.
func number(raw []byte) (float64, error) {
	if x, ok := short(raw); ok {
		return x, nil
	}
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, errNumber
	}
	x, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, errNumber
	}
	return x, nil
}

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// short returns what a number of up to 15 digits without exponent is, which most are: digits and
// power of ten are exact then, and so dividing them rounds as it should.
func short(raw []byte) (float64, bool) {
	digits, point := raw, -1
	if len(raw) > 0 && raw[0] == '-' {
		digits = raw[1:]
	}
	if len(digits) == 0 || len(digits) > 15 {
		return 0, false
	}
	n := int64(0)
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			n = 10*n + int64(c-'0')
		case c == '.' && point < 0 && i > 0 && i+1 < len(digits):
			point = i
		default:
			return 0, false
		}
	}
	x := float64(n)
	if point >= 0 {
		x /= tens[len(digits)-1-point]
	}
	if len(digits) < len(raw) {
		x = -x
	}
	return x, true
}

// bytes returns how much a message may add to a cell.
func (f *figures) bytes() bridge.Size { return bridge.Size(2*len(f.space) + 8*len(f.values)) }

// figure is what is known of one value in a window.
type figure struct {
	sum, rest            float64 // rest is what rounding has cost
	min, max             float64
	least, most          []byte // as they were written
	first, last          []byte
	firstNumber, lastOne float64
	numbers              []float64
	list                 []byte // separated by commas
}

// add adds the values of a message to those of n before it. It returns how many bytes that took.
func (f *figures) add(to []figure, n int, isFirst, isLast bool) (more int) {
	for i := range to {
		g, raw, x := &to[i], f.raw[i], f.number[i]
		if f.numbers {
			g.plus(x)
		}
		if f.extremes {
			if n == 0 || x < g.min {
				g.min, more = x, more+put(&g.least, raw)
			}
			if n == 0 || x > g.max {
				g.max, more = x, more+put(&g.most, raw)
			}
		}
		if f.ends && isFirst {
			g.firstNumber, more = x, more+put(&g.first, raw)
		}
		if f.ends && isLast {
			g.lastOne, more = x, more+put(&g.last, raw)
		}
		if f.all {
			g.numbers, more = append(g.numbers, x), more+8
		}
		if f.list {
			if n > 0 {
				g.list = append(g.list, ',')
			}
			g.list, more = append(g.list, raw...), more+len(raw)+1
		}
	}
	return more
}

// plus adds to the sum, and notes what rounding costs (Neumaier).
func (g *figure) plus(x float64) {
	sum := g.sum + x
	if math.Abs(g.sum) >= math.Abs(x) {
		g.rest += g.sum - sum + x
	} else {
		g.rest += x - sum + g.sum
	}
	g.sum = sum
}

// put makes b what raw is, and returns how many bytes more it has.
func put(b *[]byte, raw []byte) int {
	before := len(*b)
	*b = append((*b)[:0], raw...)
	return len(raw) - before
}

// merge adds the figures of a part to those of another one; both have messages.
func (f *figures) merge(to, part []figure, isFirst, isLast bool) {
	for i := range to {
		g, p := &to[i], &part[i]
		g.plus(p.sum)
		g.plus(p.rest)
		if f.extremes && p.min < g.min {
			g.min, g.least = p.min, p.least
		}
		if f.extremes && p.max > g.max {
			g.max, g.most = p.max, p.most
		}
		if isFirst {
			g.first, g.firstNumber = p.first, p.firstNumber
		}
		if isLast {
			g.last, g.lastOne = p.last, p.lastOne
		}
		g.numbers = append(slices.Clip(g.numbers), p.numbers...)
		if f.list {
			front, back := g.list, p.list
			if isFirst {
				front, back = back, front
			}
			g.list = append(append(slices.Clip(front), ','), back...)
		}
	}
}

// write appends what the functions make of n messages as fields of JSON, each behind a comma.
func (f *figures) write(b []byte, of []figure, n int) []byte {
	for i := range of {
		if len(f.names) == 0 {
			b = f.writeOne(b, &of[i], n)
			continue
		}
		b = append(append(append(b, ','), f.names[i]...), ":{"...)
		start := len(b)
		b = f.writeOne(b, &of[i], n)
		b = append(slices.Delete(b, start, start+1), '}') // the comma
	}
	return b
}

func (f *figures) writeOne(b []byte, g *figure, n int) []byte {
	if f.all {
		slices.Sort(g.numbers)
	}
	sum := g.sum + g.rest
	if math.IsNaN(sum) { // the sum is infinite
		sum = g.sum
	}
	for _, name := range f.functions {
		b = append(append(append(b, `,"`...), name...), `":`...)
		switch name {
		case "sum":
			b = appendNumber(b, sum)
		case "mean":
			b = appendNumber(b, sum/float64(n))
		case "min":
			b = append(b, g.least...)
		case "max":
			b = append(b, g.most...)
		case "first":
			b = append(b, g.first...)
		case "last":
			b = append(b, g.last...)
		case "delta":
			b = appendNumber(b, g.lastOne-g.firstNumber)
		case "median":
			low, high := g.numbers[(n-1)/2], g.numbers[n/2]
			b = appendNumber(b, low+(high-low)/2)
		case "p95":
			b = appendNumber(b, g.numbers[(n*95+99)/100-1])
		case "list":
			b = append(append(append(b, '['), g.list...), ']')
		}
	}
	return b
}

// appendNumber appends x as JSON, which has null for what is not finite.
func appendNumber(b []byte, x float64) []byte {
	switch a := math.Abs(x); {
	case math.IsInf(x, 0) || math.IsNaN(x):
		return append(b, "null"...)
	case a != 0 && (a < 1e-6 || a >= 1e21):
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, x, 'f', -1, 64)
}
