// Package suggest finds which name was meant by one that is misspelt, for the errors of whatever
// knows the names that there are.
package suggest

import "strings"

// Nearest returns the known name that differs least from name, whatever the case: in a third of
// its letters and one more at most. It returns "" if none is so near.
func Nearest(name string, known []string) string { return Within(name, known, len(name)/3+1) }

// Within returns the known name that differs least, in at most that many letters, or "".
func Within(name string, known []string, most int) string {
	best := ""
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), most); d <= most && (d < most || best == "") {
			best, most = k, d
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
