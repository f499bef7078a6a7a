package admin

import (
	"maps"
	"slices"
)

// Patterns returns those of all handlers, and whether each is open.
func (s *Server) Patterns() (all []string, open map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.open)), maps.Clone(s.open)
}
