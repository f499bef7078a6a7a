package xrtc

import (
	"sync"
	"time"
)

// registry knows the portals of an account that hold items, for all instances that use it.
type registry struct {
	mu     sync.Mutex           // guards what follows
	used   map[string]time.Time // when they were written to
	asked  bool                 // the server has told which there are
	warned bool
}

// enter notes that a portal is written to at that time. It returns false if it would be one more
// than most, not counting those whose items are older than age. The caller holds mu.
func (r *registry) enter(portal string, at time.Time, most int, age time.Duration) bool {
	if _, known := r.used[portal]; !known && len(r.used) >= most {
		for id, used := range r.used {
			if at.Sub(used) > age {
				delete(r.used, id)
			}
		}
		if len(r.used) >= most {
			return false
		}
	}
	if at.After(r.used[portal]) {
		r.used[portal] = at
	}
	return true
}
