package mqtt

import (
	"bytes"
	"testing"
	"time"
)

// A broker may want to hear of its clients more often than the settings say; that it is content with
// less is no reason to notice later that it is gone.
func TestKeepaliveOfTheServer(t *testing.T) {
	for seconds, want := range map[byte]time.Duration{0: 10 * time.Second, 5: 5 * time.Second, 60: 10 * time.Second} {
		c := newConn(nil, nil, nil, identity{five: true}, 100)
		c.keepalive.Store(int64(10 * time.Second))
		if err := c.welcome([]byte{0, 0, 3, propServerKeepalive, 0, seconds}); err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(c.keepalive.Load()); got != want {
			t.Errorf("the server says %d s: pings after %v, want %v", seconds, got, want)
		}
	}
}

// P9: each message of a window may be refused with a text of 64 KiB.
func TestP9ReasonsAreCut(t *testing.T) {
	long := bytes.Repeat([]byte("x"), maxTopic)
	for _, id := range []byte{propReasonString, propServerReference} {
		block := appendField([]byte{id}, long)
		e := reasonOf(append([]byte{0x87}, appendBlock(nil, block)...))
		if n := len(e.text) + len(e.server); n != mostReason {
			t.Errorf("property %d: %d bytes are kept, want %d", id, n, mostReason)
		}
	}
}
