package bridge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Phase is how a pipeline is, or one of its ends.
type Phase string

// The phases.
const (
	PhaseWaiting    Phase = "waiting"    // it has not been started
	PhaseConnecting Phase = "connecting" // it is being opened, or waits to be opened again; Reason says why
	PhaseRunning    Phase = "running"
	PhaseStopping   Phase = "stopping" // it delivers what it has read
	PhaseFinished   Phase = "finished"
	PhaseFailed     Phase = "failed" // Reason says why; it may be started again
)

// Status says how a pipeline is.
type Status struct {
	Phase    Phase
	Since    time.Time
	Reason   string // why it is not running
	Restarts int    // after failures
	Ends     []EndStatus
}

// EndStatus says how a source or a sink of a pipeline is.
type EndStatus struct {
	Instance string
	Type     string
	Phase    Phase
	Since    time.Time
	Reason   string // why it is not running, or what goes wrong there
}

// health is the state of a pipeline over its runs. The zero value is ready.
type health struct {
	mu       sync.Mutex // guards what follows
	phase    Phase
	since    time.Time
	reason   error
	restarts int
	ran      time.Time // since when it was running last
	ends     []*end    // in the order in which they came up
}

// end is the state of a source or a sink.
type end struct {
	instance, typ string
	done, total   atomic.Int64 // bytes read, and to be read if that is known
	memory        MemoryCheckpoint

	mu     sync.Mutex // guards what follows
	phase  Phase
	since  time.Time
	reason error
	ever   bool // it was open once
}

func (h *health) set(phase Phase, reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.phase, h.since, h.reason = phase, time.Now(), reason
	if phase == PhaseRunning {
		h.ran = h.since
	}
}

// stopping notes that the pipeline was told to stop, unless it has ended.
func (h *health) stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase == PhaseRunning || h.phase == PhaseConnecting {
		h.phase, h.since = PhaseStopping, time.Now()
	}
}

// runningSince returns since when the pipeline has had everything open, if that was after began.
func (h *health) runningSince(began time.Time) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ran, h.ran.After(began)
}

func (h *health) restarted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restarts++
}

// end returns the state of an instance.
func (h *health) end(instance, typ string) *end {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.ends {
		if e.instance == instance {
			return e
		}
	}
	e := &end{instance: instance, typ: typ, phase: PhaseWaiting, since: time.Now()}
	h.ends = append(h.ends, e)
	return e
}

// set notes how the end is. Since is when it became so.
func (e *end) set(phase Phase, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.phase != phase {
		e.since = time.Now()
	}
	e.phase, e.reason = phase, reason
	e.ever = e.ever || phase == PhaseRunning
}

// opened reports whether it was open once.
func (e *end) opened() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ever
}

// interrupted notes what became of an attempt that was cut short, unless one before it says more.
func (e *end) interrupted(reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reason == nil {
		e.reason = reason
	}
}

func (e *end) progress(done, total int64) {
	e.done.Store(done)
	e.total.Store(total)
}

// Status returns how the pipeline is.
func (p *Pipeline) Status() Status {
	h := &p.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{Phase: h.phase, Since: h.since, Reason: text(h.reason), Restarts: h.restarts}
	if s.Phase == "" {
		s.Phase = PhaseWaiting
	}
	for _, e := range h.ends {
		e.mu.Lock()
		s.Ends = append(s.Ends, EndStatus{Instance: e.instance, Type: e.typ, Phase: e.phase, Since: e.since, Reason: text(e.reason)})
		e.mu.Unlock()
	}
	return s
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Progress returns how many of how many bytes the sources have read; total is
// 0 unless all of them know it.
func (p *Pipeline) Progress() (done, total int64) {
	for i, e := range p.From {
		end := p.health.end(instanceName(p.Name+"-"+fromPlace, i), e.Type)
		of := end.total.Load()
		if of == 0 {
			return 0, 0
		}
		done, total = done+end.done.Load(), total+of
	}
	return done, total
}

// neverConnected returns the error for an end that could not be opened before the stop.
func neverConnected(p *place, e *end) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reason == nil {
		return fmt.Errorf("%s: %w", p, ErrNeverConnected)
	}
	return fmt.Errorf("%w: %v", ErrNeverConnected, e.reason) //nolint:errorlint // what kind of error it was does not count any more
}

// cut returns the error for an input that has not come to its end.
func cut(p *place, e *end) error {
	if total := e.total.Load(); total > 0 {
		return fmt.Errorf("%s: %w: %d of %d bytes have been read", p, ErrCut, e.done.Load(), total)
	}
	return fmt.Errorf("%s: %w", p, ErrCut)
}
