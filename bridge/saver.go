package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// How often a [Saver] saves, and how long one attempt may take that nobody waits for.
const (
	saveEvery   = 100 * time.Millisecond
	saveTimeout = 10 * time.Second
)

// A Saver saves the checkpoint of a source ten times a second at most, and what was delivered last
// soon after. Its methods may be called concurrently. Close must be called.
type Saver struct {
	checkpoint Checkpoint
	state      func() ([]byte, error)
	log        *slog.Logger
	saving     sync.Mutex // held while saving, so that the newest comes last

	mu     sync.Mutex // guards what follows
	saved  time.Time
	timer  *time.Timer // nil: there is nothing to save later
	closed bool
	busy   sync.WaitGroup // saves that are on their way
}

// NewSaver returns one for a source. State returns what to save, which must never be ahead of what
// was delivered.
func NewSaver(env Env, state func() ([]byte, error)) *Saver {
	return &Saver{checkpoint: env.Checkpoint, state: state, log: env.Logger}
}

// Delivered notes that the state has changed. It saves that now, or within a tenth of a second;
// what cannot be saved is tried again.
func (s *Saver) Delivered(ctx context.Context) error {
	s.mu.Lock()
	since := time.Since(s.saved)
	if s.closed || since < saveEvery {
		s.wind(saveEvery - since)
		s.mu.Unlock()
		return nil
	}
	s.saved = time.Now()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.mu.Unlock()
	err := s.Save(ctx)
	if err != nil {
		s.mu.Lock()
		s.wind(saveEvery)
		s.mu.Unlock()
	}
	return err
}

// wind sets the timer unless it is set. The lock must be held.
func (s *Saver) wind(d time.Duration) {
	if s.timer == nil && !s.closed {
		s.timer = time.AfterFunc(d, s.saveLate)
	}
}

// Save saves the state now, unless the saver is closed.
func (s *Saver) Save(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.busy.Add(1)
		defer s.busy.Done()
	}
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.save(ctx)
}

func (s *Saver) save(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	data, err := s.state()
	if err == nil {
		err = s.checkpoint.Save(ctx, data)
	}
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// saveLate is called by the timer.
func (s *Saver) saveLate() {
	s.mu.Lock()
	s.timer = nil
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.saved = time.Time{}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	if err := s.Delivered(ctx); err != nil {
		s.log.WarnContext(ctx, "messages may come again after a restart", "err", err)
	}
}

// Close saves the state a last time. Nothing is saved after that.
func (s *Saver) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.busy.Wait()
	return s.save(ctx)
}
