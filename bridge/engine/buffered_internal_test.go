package engine

import (
	"errors"
	"fmt"
	"testing"
)

// What a stop has cut short is no failure of the half that empties a buffer, unless something else
// is among it.
func TestOnlyStopped(t *testing.T) {
	cut, other := fmt.Errorf("source: %w", ErrCut), errors.New("wrong password")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{ErrNotDrained, true},
		{cut, true},
		{joinOnce(ErrNotDrained, cut), true},
		{joinOnce(joinOnce(ErrNotDrained, cut), fmt.Errorf("sink: %w", ErrNeverConnected)), true},
		{other, false},
		{joinOnce(ErrNotDrained, other), false},
		{joinOnce(joinOnce(ErrNotDrained, cut), other), false},
	} {
		if got := onlyStopped(c.err); got != c.want {
			t.Errorf("onlyStopped(%v) = %t", c.err, got)
		}
	}
}
