package monitor

import (
	"fmt"
	"testing"
)

// A queue that is never empty keeps its order, and takes no more room than the most that were in it.
func TestTapUsesItsRoomAgain(t *testing.T) {
	tap := &Tap{}
	var put, taken int
	for round := range 10_000 {
		for range round%3 + 1 {
			tap.put(queued{Tapped: Tapped{Place: fmt.Sprint(put)}, size: 1})
			put++
		}
		for put-taken > 100 {
			one, err := tap.next()
			if err != nil || one.Place != fmt.Sprint(taken) {
				t.Fatalf("number %d is %+v, %v", taken, one, err)
			}
			taken++
		}
	}
	if tap.waiting() != 100 || tap.size != 100 || cap(tap.queue) > 400 {
		t.Errorf("%d are in a queue of %d bytes with room for %d", tap.waiting(), tap.size, cap(tap.queue))
	}
	one := queued{size: 1}
	if n := testing.AllocsPerRun(1000, func() {
		for range 100 {
			tap.put(one)
		}
		for range 100 {
			_, _ = tap.next()
		}
	}); n > 110 { // each that is taken is one
		t.Errorf("%v allocations for 100 messages", n)
	}
}
