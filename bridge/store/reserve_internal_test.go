package store

import "testing"

func TestF13DefaultReserve(t *testing.T) {
	for total, want := range map[int64]int64{
		1 << 30:   256 << 20,
		8 << 30:   512 << 20,
		20 << 30:  1 << 30,
		40 << 30:  2 << 30,
		252 << 30: 2 << 30, // a large disk does not refuse messages with 12 GiB free
	} {
		if got := defaultReserve(total); got != want {
			t.Errorf("of %d MiB: %d MiB are kept, want %d", total>>20, got>>20, want>>20)
		}
	}
}
