package step

import (
	"math"
	"reflect"
	"runtime/metrics"

	"github.com/itchyny/gojq"
)

// What a program may hold beyond its message, and after how much growth of the heap it is asked
// what it does hold. The heap is everybody's, and asking costs a walk, so that only programs pay
// for it that run while much memory is taken, and none for what others take.
const (
	mostHeld  = 256 << 20
	askGrowth = mostHeld / 2
)

// memoryLimit bounds what a program of jq holds at a time. Copies that it lets go of cost nothing:
// assigning to a part of a value copies the lists and objects on the way there, and most programs
// throw the one before away.
type memoryLimit struct {
	outputs gojq.Iter
	input   any
	heap    [1]metrics.Sample
	least   uint64 // bytes of the heap, since it was asked last or, at first, looked at
}

func (l *memoryLimit) begin(outputs gojq.Iter, input any) {
	l.outputs, l.input, l.heap[0].Name = outputs, input, "/memory/classes/heap/objects:bytes"
	l.least = math.MaxUint64 // reading it takes microseconds, and most programs are done before
}

func (l *memoryLimit) used() uint64 {
	metrics.Read(l.heap[:])
	return l.heap[0].Value.Uint64()
}

// reached reports whether the program holds more than it may.
func (l *memoryLimit) reached() bool {
	used := l.used()
	if l.least = min(l.least, used); used-l.least < askGrowth {
		return false
	}
	l.least = used
	w := heldBytes{left: 1 << 62, seen: make(map[uintptr]int)}
	w.add(reflect.ValueOf(l.input))
	w.left = mostHeld
	// What a program holds is in these, and the library has no other way to it. That they are there
	// is tested; it does not matter to what else they lead.
	if env := reflect.Indirect(reflect.ValueOf(l.outputs)); env.Kind() == reflect.Struct {
		for _, name := range []string{"values", "stack", "paths"} {
			w.add(env.FieldByName(name))
		}
	}
	return w.left < 0
}

// heldBytes adds up what lists and objects take, each of them once, as long as there is something
// left. Texts have been paid for in steps. It takes no stack for what is nested: a program can nest
// deeper than that of a goroutine has room for, and more of it ends the process.
type heldBytes struct {
	left int
	seen map[uintptr]int // bytes in front of the end of a list, or 1 for what has one size
	open []opened        // those that are gone through, within one another
}

// opened is a list, a structure or, with each, an object, of which some values are still to be
// seen.
type opened struct {
	list      reflect.Value
	next, end int
	each      *reflect.MapIter
}

func (h *heldBytes) add(v reflect.Value) {
	h.enter(v)
	for len(h.open) > 0 && h.left >= 0 {
		switch o := &h.open[len(h.open)-1]; {
		case o.each != nil && o.each.Next():
			h.enter(o.each.Value())
		case o.next < o.end && o.list.Kind() == reflect.Struct:
			o.next++
			h.enter(o.list.Field(o.next - 1))
		case o.next < o.end:
			o.next++
			h.enter(o.list.Index(o.next - 1))
		default:
			h.open = h.open[:len(h.open)-1]
		}
	}
}

// enter adds v, without what is in it if it is opened.
func (h *heldBytes) enter(v reflect.Value) {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer && h.more(v.Pointer(), 1) > 0 {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		h.open = append(h.open, opened{list: v, end: v.NumField()})
	case reflect.Slice: // parts of a list share its memory, and where that ends
		size := v.Cap() * int(v.Type().Elem().Size())
		if n := h.more(v.Pointer()+uintptr(size), size); n > 0 {
			h.left -= n
			h.open = append(h.open, opened{list: v.Slice(0, v.Cap()), end: v.Cap() * n / size})
		}
	case reflect.Map:
		if h.more(v.Pointer(), 1) > 0 {
			h.left -= 48 * v.Len()
			h.open = append(h.open, opened{each: v.MapRange()})
		}
	}
}

// more returns how much of what is at an address is new.
func (h *heldBytes) more(at uintptr, size int) int {
	n := max(size-h.seen[at], 0)
	if at != 0 && n > 0 {
		h.seen[at] = size
		return n
	}
	return 0
}
