package mqtt

import "testing"

// A Write that finds the window full while it is careful may come to wait when another has relaxed it:
// for nothing then, and not for messages that nobody has sent.
func TestWaitingForAWindowThatIsRelaxed(t *testing.T) {
	w := newWindow(1000, 1)
	w.careful()
	w.add(1)
	if _, room := w.room(); room != 0 || w.half() != 1 {
		t.Fatalf("room for %d, half at %d, want none and 1", room, w.half())
	}
	w.relax()
	if w.wait(w.half()) != nil {
		t.Errorf("waits until %d messages are acknowledged, of one that was sent", w.half())
	}
	w.add(999)
	if got := w.half(); got != 500 {
		t.Errorf("half at %d, want 500", got)
	}
}
