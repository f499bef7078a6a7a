package expr

import (
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/builtin"
)

// nameHint says what an unknown name may have meant.
func nameHint(name string) string {
	known := append(slices.Sorted(maps.Keys(variables())), functions()...)
	hint := "known: " + strings.Join(known, ", ") + " and the language's own functions"
	for _, list := range [][]string{known, builtin.Names} {
		for _, k := range list {
			if near(name, k) {
				return "did you mean " + k + "? " + hint
			}
		}
	}
	return hint
}

// near reports whether one change of a letter, or two neighbours swapped,
// or a change of case, makes a of b.
func near(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	return a[i:] == b[i:] || a[i+1:] == b[i+1:] ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
