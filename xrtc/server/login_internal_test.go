package server

import (
	"fmt"
	"testing"
	"time"
)

// S45: logins to many accounts from many addresses make none of the later refusals be forgotten,
// least of all those of who makes them.
func TestS45OldestStrikesGoFirst(t *testing.T) {
	s := newStrikes()
	var now time.Duration
	strike := func(address string, n int) {
		for range n {
			now++
			s.add(now, address, "AC1234")
		}
	}
	const attacker = "192.0.2.1"
	for i := range 3 * strikesMost {
		strike(fmt.Sprint("2001:db8::", i), 1)
		strike(attacker, 1)
		if n := len(s.by); n > strikesMost || n != s.all.Len() {
			t.Fatalf("%d names are remembered, %d of them in order", n, s.all.Len())
		}
	}
	if delay, count := s.add(now, attacker, "AC1234"); delay != strikeDelayMax || count <= 6*strikesMost {
		t.Errorf("who makes them waits for %v as after %d refusals", delay, count)
	}
	if s.by["address 2001:db8::0"] != nil || s.by[fmt.Sprint("address 2001:db8::", 3*strikesMost-1)] == nil {
		t.Error("it is not the oldest that are forgotten")
	}
	s.sweep(now + strikesForget - 1)
	if _, count := s.add(now, attacker, "AC1234"); count < strikesMost {
		t.Errorf("%d are remembered within the time", count)
	}
	s.sweep(now + strikesForget + 1)
	if len(s.by)+s.all.Len() > 0 {
		t.Errorf("%d names are remembered for ever", len(s.by))
	}
}
