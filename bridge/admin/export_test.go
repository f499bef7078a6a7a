package admin

import (
	"maps"
	"slices"
)

// MostConns is how many connections there are at a time.
const MostConns = mostConns

// Patterns returns those of all handlers, and whether each is open.
func (s *Server) Patterns() (all []string, open map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.open)), maps.Clone(s.open)
}
