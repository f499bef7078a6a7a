package engine

import "sync"

// mutex is one that may be held while something else is waited for. Who waits for it is at rest as
// far as testing/synctest is concerned, as with a channel and unlike with a sync.Mutex, so that the
// simulation's time can pass meanwhile.
type mutex chan struct{}

func newMutex() mutex { return make(mutex, 1) }

func (m mutex) Lock()   { m <- struct{}{} }
func (m mutex) Unlock() { <-m }

// signal wakes whoever waits for it. The zero value is ready.
type signal struct {
	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// wait returns a channel that is closed at the next broadcast.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *signal) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
