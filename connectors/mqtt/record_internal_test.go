package mqtt

import (
	"testing"
	"testing/synctest"
	"time"
)

// In the pause that ends a subscription the broker could have answered to the last acknowledgement,
// however long what it has kept takes: else it had more, which some brokers drop.
func TestPauseIsLongerThanTheWayToTheBroker(t *testing.T) {
	for _, c := range []struct{ after, trip, want time.Duration }{
		{0, time.Millisecond, time.Second},
		{time.Hour, time.Millisecond, time.Second / 4},
		{time.Hour, 400 * time.Millisecond, 800 * time.Millisecond},
		{time.Hour, time.Minute, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{ending: []string{"x/#"}, began: time.Now().Add(-c.after), trip: c.trip}
			began := time.Now()
			<-s.pause()
			if got := time.Since(began); got != c.want {
				t.Errorf("after %v, with answers within %v: %v, want %v", c.after, c.trip, got, c.want)
			}
		})
	}
}
