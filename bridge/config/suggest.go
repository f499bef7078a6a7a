package config

import (
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// meant returns the key that was meant by one that is not known, or "". What holds the path has
// many names.
func (s *shape) meant(key string, allowed []string) string {
	isPath := func(f field) bool { return f.path && !f.anywhere }
	if slices.Contains([]string{"path", "dir", "folder", "directory", "file", "filename"}, key) {
		if i := slices.IndexFunc(s.fields, isPath); i >= 0 && !slices.ContainsFunc(s.fields[i+1:], isPath) {
			return s.fields[i].name
		}
	}
	return suggest.Nearest(key, allowed)
}

// hint returns which of the known names was meant, if one is near, and the names. So may words that
// stand in place of several of them.
func hint(name, what string, known []string, words ...string) string {
	list := what + ": " + names(known)
	if len(known) == 0 {
		list = what + ": none"
	}
	if len(words) > 0 {
		list += "; for several: " + strings.Join(words, ", ")
	}
	if k := suggest.Nearest(name, slices.Concat(known, words)); k != "" {
		return "did you mean " + k + "? " + list
	}
	return list
}
