package engine

import "github.com/xrtcbridge/xrtcbridge/bridge"

// outcome is what became of a message at one place; of several, the greatest counts.
type outcome uint8

// The outcomes, from the one that says least.
const (
	filtered     outcome = iota
	held                 // by a step, and merged when that has let go
	delivered            //
	deadLettered         //
	omitted              // by a sink, as configured
	dropped              // by on_error
	refused              // by a sink of ModeAny, which has another
	pending              // not settled: it comes again
	outcomes             // their number
)

// write is one batch on its way to a sink, or to what has sinks, and what became of it.
type write struct {
	batch bridge.Batch
	once  bool // try what is open now, once, and refuse nothing: there is another way

	done     int       // messages at the front that are settled
	outcomes []outcome // of each of them; nil: all are delivered
	refused  []refusal // with once: what was refused
	tried    bool      // with once: an instance was asked
	err      error     // why not all are settled
}

// set notes the outcome of message i.
func (w *write) set(i int, out outcome) {
	if w.outcomes == nil {
		w.outcomes = make([]outcome, len(w.batch))
		for k := range w.outcomes {
			w.outcomes[k] = delivered
		}
	}
	w.outcomes[i] = out
}

// of returns the outcome of message i.
func (w *write) of(i int) outcome {
	switch {
	case i >= w.done:
		return pending
	case w.outcomes == nil:
		return delivered
	default:
		return w.outcomes[i]
	}
}
