package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	leastReserve = 512 << 20
	mostReserve  = 2 << 30
	lookAtDisk   = 100 * time.Millisecond // not more often
)

// reserve returns how much of the disk buffers leave free.
func (s *Store) reserve() int64 {
	if s.settings.Reserve > 0 {
		return int64(s.settings.Reserve)
	}
	total, _, err := s.space()
	if err != nil {
		return leastReserve
	}
	return defaultReserve(total)
}

// defaultReserve is 5 % of the disk, but at least 512 MiB and at most 2 GiB (what it is kept for does not grow with the
// disk), and no more than a quarter of a small one.
func defaultReserve(total int64) int64 {
	return min(max(total/20, leastReserve), mostReserve, total/4)
}

// space asks for the disk of the folder, which need not exist yet.
func (s *Store) space() (total, free int64, err error) {
	dir, err := filepath.Abs(s.settings.Place().Path)
	if err != nil {
		return 0, 0, err
	}
	for {
		total, free, err = diskSpace(dir)
		if parent := filepath.Dir(dir); errors.Is(err, os.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		return total, free, err
	}
}

// guard watches that the disk does not run full.
type guard struct {
	looked time.Time
	err    error
}

// check returns an error when buffers must not grow any more.
func (g *guard) check(s *Store) error {
	if s.settings.NATS != nil {
		return nil
	}
	if now := time.Now(); now.Sub(g.looked) >= lookAtDisk {
		g.looked, g.err = now, nil
		if _, free, err := s.space(); err == nil && free < s.reserve() {
			g.err = fmt.Errorf("the disk of %s has %d MiB left, and %d MiB are kept for checkpoints and dead letters: "+
				"make room there, or lower state.reserve",
				s.settings.Place().Path, free>>20, s.reserve()>>20)
		}
	}
	return g.err
}
