package monitor

import (
	"slices"
	"strings"
	"time"
)

// How many errors of a pipeline are kept, and how many bytes of one.
const (
	mostErrors = 20
	mostText   = 2000
)

// failed notes an error of an instance.
func (p *pipeline) failed(e *end, err error) { p.refused(e, err, 1) }

// refused notes why messages were refused.
func (p *pipeline) refused(e *end, err error, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(Error{At: time.Now(), Instance: e.shape.Instance, Text: err.Error(), N: uint64(n)})
}

// note puts an error in front of those that are known, or counts it. The lock must be held.
func (p *pipeline) note(e Error) {
	if len(e.Text) > mostText {
		e.Text = strings.ToValidUTF8(e.Text[:mostText], "") + "…"
	}
	i := slices.IndexFunc(p.errors, func(was Error) bool { return was.Instance == e.Instance && was.Text == e.Text })
	if i >= 0 {
		e.N += p.errors[i].N
		p.errors = slices.Delete(p.errors, i, i+1)
	}
	p.errors = slices.Insert(p.errors, 0, e)
	p.errors = p.errors[:min(len(p.errors), mostErrors)]
}
