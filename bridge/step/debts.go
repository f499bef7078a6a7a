package step

import (
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// debts knows up to which call nothing is held any more.
type debts struct {
	all  []*debt // oldest first, among them some that are paid
	owed int     // those that are not
}

// debt is how much is held of one call.
type debt struct {
	call uint64
	n    int
}

// owe notes that something of this call is held.
func (d *debts) owe(out *bridge.Output) *debt {
	k := len(d.all)
	if k == 0 || d.all[k-1].call != out.Call() {
		d.all = append(d.all, &debt{call: out.Call()})
		k++
	}
	last := d.all[k-1]
	if last.n++; last.n == 1 {
		d.owed++
	}
	return last
}

// pay notes that something of that call is held no more.
func (d *debts) pay(old *debt) {
	if old.n--; old.n == 0 {
		d.owed--
	}
}

// release tells out what is not held any more.
func (d *debts) release(out *bridge.Output) {
	for len(d.all) > 0 && d.all[0].n == 0 {
		d.all = d.all[1:]
	}
	if len(d.all) > 64+2*d.owed {
		d.all = slices.DeleteFunc(d.all, func(old *debt) bool { return old.n == 0 })
	}
	if len(d.all) == 0 {
		out.Release(out.Call())
	} else {
		out.Release(d.all[0].call - 1)
	}
}

// keep returns m with a payload of its own, to be held.
func keep(m bridge.Message) bridge.Message {
	m.Payload = append([]byte(nil), m.Payload...)
	return m
}

// size returns the bytes that m takes, about.
func size(m *bridge.Message) bridge.Size {
	n := 128 + len(m.Payload) + len(m.Topic)
	for k, v := range m.Header {
		n += 32 + len(k) + len(v)
	}
	return bridge.Size(n)
}

// keyOf returns the key of m, which has none if nothing is said of one.
func keyOf(key bridge.Template, m *bridge.Message) (string, error) {
	if key == nil {
		return "", nil
	}
	return key.Render(m)
}
