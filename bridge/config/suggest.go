package config

import (
	"slices"
	"strings"
)

// hint returns which of the known names was meant, if one is near, and the names.
func hint(name, what string, known []string) string {
	list := what + ": " + names(known)
	if len(known) == 0 {
		list = what + ": none"
	}
	if k := nearest(name, known); k != "" {
		return "did you mean " + k + "? " + list
	}
	return list
}

// hintWith returns a hint on names and on further words that may stand in their place.
func hintWith(name, what string, known, words []string) string {
	if len(words) == 0 {
		return hint(name, what, known)
	}
	text := hint(name, what, known)
	if k := nearest(name, append(slices.Clip(known), words...)); slices.Contains(words, k) {
		text = "did you mean " + k + "? " + hint("", what, known)
	}
	return text + "; for several: " + strings.Join(words, ", ")
}

// nearest returns the known name that differs least, or "" if none is near.
func nearest(name string, known []string) string {
	best, least := "", len(name)/3+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), least); d <= least && (d < least || best == "") {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters must be added, removed, replaced, or
// swapped with a neighbour to make a of b; more than most if it is more.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
