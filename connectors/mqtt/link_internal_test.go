package mqtt

import (
	"net"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A source that never comes costs no memory, and one that comes knows what it missed.
func TestMessagesForNoSourceAreFew(t *testing.T) {
	const n = 1000
	e, dropped := new(ends), 0
	kept := func() (size int) {
		for _, f := range e.early {
			size += len(f.body)
		}
		return size
	}
	for i := range n {
		f, _, err := nextFrame(appendPublish(nil, "t", make([]byte, 64<<10), 0, false, 0), 1<<20)
		if i == n-1 { // and none of QoS 1, of which the broker has more to come
			f, _, err = nextFrame(appendPublish(nil, "t", []byte("last"), 1, false, 7), 1<<20)
		}
		if err == nil {
			err = e.frame(f)
		}
		if err != nil || kept() > mostEarly+100 {
			t.Fatalf("%d bytes are kept after %d messages, %v", kept(), i, err)
		}
	}
	s := &source{
		env:   bridge.Env{Dropped: func(n int) { dropped += n }, MaxBatch: n},
		set:   new(SourceSettings),
		queue: newQueue(n<<20, false, true),
	}
	e.attach(s, nil)
	c := newConn(&pieces{Conn: new(net.TCPConn)}, nil, e, identity{}, 1<<20)
	e.flush(c)
	batch, _, err := s.queue.take(n)
	if err != nil || len(batch)+dropped != n || string(batch[len(batch)-1].Payload) != "last" {
		t.Errorf("%d came and %d were dropped of %d, %v", len(batch), dropped, n, err)
	}
	if len(e.early) > 0 || e.size > 0 {
		t.Errorf("%d are kept for ever", len(e.early))
	}
}
