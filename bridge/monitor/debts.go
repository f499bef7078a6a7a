package monitor

import (
	"sync"
	"time"
)

// debts are what has begun and not ended, oldest first.
type debts struct {
	mu     sync.Mutex // guards what follows
	oldest *debt
	newest *debt
}

// debt is one of them.
type debt struct {
	since        time.Time
	older, newer *debt
}

func (d *debts) add(since time.Time) *debt {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := &debt{since: since, older: d.newest}
	if d.newest != nil {
		d.newest.newer = one
	} else {
		d.oldest = one
	}
	d.newest = one
	return one
}

func (d *debts) pay(one *debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.older != nil {
		one.older.newer = one.newer
	} else {
		d.oldest = one.newer
	}
	if one.newer != nil {
		one.newer.older = one.older
	} else {
		d.newest = one.older
	}
}

// since returns when the oldest was read; zero if there is none.
func (d *debts) since() (t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.oldest != nil {
		t = d.oldest.since
	}
	return t
}
