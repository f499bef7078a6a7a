package mqtt

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Giving back does not wait for the broker, which may go on for a while; the connection ends all
// the same. Time goes on only when everybody waits.
func TestGivingBackHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, broker := net.Pipe()
		sent := make(chan []byte, 1)
		go func() { // it does not hang up
			b, _ := io.ReadAll(broker)
			sent <- b
		}()
		set := &SourceSettings{QoS: 1}
		set.Session = "persistent"
		s := &source{set: set, queue: newQueue(1<<20, false, true)}
		s.conn = newConn(ours, nil, s, identity{}, 1<<20)
		began := time.Now()
		ack := s.ackOf([]ref{{id: 1, qos: 1}, {id: 2, qos: 1}})
		if err := ack(t.Context(), bridge.GiveBack(1, errors.New("of the test"))); err != nil {
			t.Error(err)
		}
		if held := time.Since(began); held != 0 {
			t.Errorf("giving back took %v", held)
		}
		select {
		case <-s.conn.dead:
			t.Error("the connection has ended before the broker could")
		default:
		}
		<-s.conn.dead
		if held := time.Since(began); held != closeTimeout {
			t.Errorf("the connection has ended after %v", held)
		}
		if got := <-sent; string(got) != "\x40\x02\x00\x01\xe0\x00" {
			t.Errorf("sent %x, want PUBACK of the first, and DISCONNECT", got)
		}
	})
}

// A broker that stands still for a while when a client leaves has the time to read what that has
// sent last: a reset before could cost it acknowledgements, and their messages would come again.
func TestClosingWaitsForABrokerThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const still = 3 * time.Second
		ours, broker := net.Pipe()
		go func() {
			_, _ = io.ReadFull(broker, make([]byte, 2)) // the system has DISCONNECT
			<-time.After(still)
			_ = broker.Close()
		}()
		c := newConn(ours, nil, &source{queue: newQueue(1<<20, false, true)}, identity{}, 1<<20)
		c.running.Go(func() {
			_, err := io.ReadAll(ours)
			_ = c.fail(errors.Join(io.EOF, err))
		})
		began := time.Now()
		c.close(nil)
		if held := time.Since(began); held != still || errors.Is(c.cause, errLeft) {
			t.Errorf("the connection has ended after %v: %v", held, c.cause)
		}
	})
}
