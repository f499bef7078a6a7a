package step

import (
	"container/heap"
	"context"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// holding bounds what a step holds.
type holding struct {
	MaxHeld  int         `yaml:"max_held" min:"1" max:"10000000" doc:"most messages that wait; beyond that the source does"`
	MaxBytes bridge.Size `yaml:"max_bytes" doc:"most bytes of them"`
}

var defaultHolding = holding{MaxHeld: 10_000, MaxBytes: 64 << 20}

func (h holding) validate() error {
	if h.MaxBytes < 1 {
		return bridge.KeyErrorf("max_bytes", "must be above 0")
	}
	return nil
}

// later holds messages, each until it is due.
type later struct {
	holding

	clock    bridge.Clock
	stopping <-chan struct{}
	waiting  waiting
	count    uint64 // of all messages that were ever held
	bytes    bridge.Size
	debts    debts
}

// waiting is a heap, by due and then by number.
type waiting []due

type due struct {
	at     time.Time
	number uint64
	m      bridge.Message
	debt   *debt
}

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, k int) bool {
	return w[i].at.Before(w[k].at) || w[i].at.Equal(w[k].at) && w[i].number < w[k].number
}
func (w waiting) Swap(i, k int) { w[i], w[k] = w[k], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(due)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	d := (*w)[last]
	(*w)[last] = due{}
	*w = (*w)[:last]
	return d
}

// begin lets go of what is due, and waits until there is room for the batch, or until the pipeline
// is to stop, since all is let go then. It returns the time.
func (l *later) begin(ctx context.Context, batch bridge.Batch, out *bridge.Output) (time.Time, error) {
	more := bridge.Size(0)
	if len(l.waiting) > 0 {
		for i := range batch {
			more += size(&batch[i])
		}
	}
	now := l.clock.Now()
	l.letGo(out, now)
	for len(l.waiting) > 0 && len(batch) > 0 && !out.Last() &&
		(len(l.waiting)+len(batch) > l.MaxHeld || l.bytes+more > l.MaxBytes) {
		due := l.clock.NewTimer(l.waiting[0].at.Sub(now))
		select {
		case <-due.C:
		case <-l.stopping:
			due.Stop()
			return l.clock.Now(), nil
		case <-ctx.Done():
			due.Stop()
			return now, context.Cause(ctx)
		}
		now = l.clock.Now()
		l.letGo(out, now)
	}
	return now, nil
}

// hold holds message i of the batch.
func (l *later) hold(out *bridge.Output, i int, m *bridge.Message, until time.Time) {
	out.Hold(i)
	l.count++
	l.bytes += size(m)
	heap.Push(&l.waiting, due{until, l.count, keep(*m), l.debts.owe(out)})
}

// letGo lets go of what is due.
func (l *later) letGo(out *bridge.Output, now time.Time) {
	for len(l.waiting) > 0 && (out.Last() || !l.waiting[0].at.After(now)) {
		d := heap.Pop(&l.waiting).(due)
		l.debts.pay(d.debt)
		l.bytes -= size(&d.m)
		out.Add(d.m)
	}
}

// end ends a call.
func (l *later) end(out *bridge.Output, now time.Time) {
	l.letGo(out, now)
	l.debts.release(out)
	wait := time.Duration(0)
	if len(l.waiting) > 0 {
		wait = l.waiting[0].at.Sub(now)
	}
	out.Wake(wait)
}
