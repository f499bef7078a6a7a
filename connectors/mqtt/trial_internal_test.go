package mqtt

import (
	"hash/maphash"
	"net"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A broker that has hung up before a packet was sent has not done that for its size.
func TestHangUpBeforeALargePacketIsNotForIt(t *testing.T) {
	m := &bridge.Message{Topic: "t", Payload: make([]byte, 2*surelyTaken)}
	s := &sink{links: &links{seed: maphash.MakeSeed()}, last: m.Topic}
	for range mostHangUps {
		s.conn = newConn(&pieces{Conn: new(net.TCPConn)}, nil, new(recorder), identity{}, 1<<20)
		_ = s.conn.fail(errHungUp)
		if err := s.try(m); !hungUp(err) {
			t.Errorf("got %v, want what the connection ended of", err)
		}
	}
	if err := s.trial(m.Topic, m, len(m.Payload)); err != nil {
		t.Error(err)
	}
}
