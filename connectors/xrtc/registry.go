package xrtc

import (
	"sync"
	"time"
)

// registry knows which portals have been written to as long as the server holds their items.
type registry struct {
	most int
	age  time.Duration

	mu     sync.Mutex // guards what follows
	used   map[string]time.Time
	warned bool
}

// enter notes that a portal is written to. It returns false if it is one too many. The caller holds
// mu.
func (r *registry) enter(portal string, now time.Time) bool {
	if _, known := r.used[portal]; !known && len(r.used) >= r.most {
		for id, at := range r.used {
			if now.Sub(at) > r.age {
				delete(r.used, id)
			}
		}
		if len(r.used) >= r.most {
			return false
		}
	}
	r.used[portal] = now
	return true
}
