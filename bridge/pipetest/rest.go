package pipetest

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// watch knows when a pipeline is at rest: nothing goes on in it until a message comes or time
// passes. The runtime alone knows that, and tells the state of each goroutine; testing/synctest
// does the same, for tests in Go only.
type watch struct {
	before          map[string]bool // goroutines that were there before, and are no part of it
	begun, returned atomic.Int64    // calls that may wait for another process
	buf             []byte
}

// atRest are the states of a goroutine that only another one, a timer or a connection ends.
var atRest = []string{
	"chan receive", "chan send", "select", "chan receive (nil chan)", "chan send (nil chan)", "select (no cases)",
	"sync.Cond.Wait", "sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock", "sync.WaitGroup.Wait", "semacquire",
	"IO wait", "finalizer wait", "cleanup wait",
	"GC worker (idle)", "GC sweep wait", "GC scavenge wait", "force gc (idle)", // GOTRACEBACK=system shows them, too
}

// mostUnrest is how long a pipeline may be busy though no time passes: a step that needs longer
// would stop it.
const mostUnrest = 30 * time.Second

var errNoRest = errors.New("the pipeline is still busy after " + mostUnrest.String() +
	", though no time has passed for it")

func newWatch() *watch {
	w := &watch{before: make(map[string]bool), buf: make([]byte, 1<<16)}
	for g := range w.goroutines() {
		w.before[g.id] = true
	}
	return w
}

// call notes a call that may wait for another process, until the returned function is called.
func (w *watch) call() (returned func()) {
	w.begun.Add(1)
	return func() { w.returned.Add(1) }
}

// await waits until the pipeline is at rest.
func (w *watch) await() error {
	began := time.Now()
	runtime.Gosched() // often that is all it takes
	for pause := 20 * time.Microsecond; !w.resting(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Since(began) > mostUnrest {
			return errNoRest
		}
		<-time.After(pause)
	}
	return nil
}

func (w *watch) resting() bool {
	begun := w.begun.Load()
	if w.returned.Load() != begun {
		return false
	}
	for g := range w.goroutines() {
		if !w.before[g.id] && !w.before[g.parent] && !slices.Contains(atRest, g.state) {
			return false
		}
	}
	return w.begun.Load() == begun
}

type goroutine struct{ id, parent, state string }

// goroutines goes through all but the one that calls it, as they were at one moment.
func (w *watch) goroutines() func(yield func(goroutine) bool) {
	return func(yield func(goroutine) bool) {
		n := runtime.Stack(w.buf, true)
		for n == len(w.buf) {
			w.buf = make([]byte, 2*n)
			n = runtime.Stack(w.buf, true)
		}
		own := true
		for block := range bytes.SplitSeq(w.buf[:n], []byte("\n\n")) {
			if own {
				own = false
				continue
			}
			if !yield(parse(string(block))) {
				return
			}
		}
	}
}

// parse reads what the runtime says of a goroutine:
//
//	goroutine 7 [select, 2 minutes]:
//	…
//	created by NAME in goroutine 1
func parse(block string) (g goroutine) {
	head, _, _ := strings.Cut(block, "\n")
	name, rest, _ := strings.Cut(head, " [")
	state, _, _ := strings.Cut(rest, "]")
	state, _, _ = strings.Cut(state, ",")
	name = strings.TrimPrefix(name, "goroutine ")
	g.id, _, _ = strings.Cut(name, " ")
	g.state = strings.TrimSuffix(state, " (scan)")
	const in = " in goroutine "
	if i := strings.LastIndex(block, in); i >= 0 {
		g.parent, _, _ = strings.Cut(block[i+len(in):], "\n")
	}
	return g
}
