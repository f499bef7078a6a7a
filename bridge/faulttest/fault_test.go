package faulttest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

func TestCutAfterIsExact(t *testing.T) {
	for _, k := range []int64{1, 7, 16384, 16385, 3 << 20} {
		for _, down := range []bool{false, true} {
			for _, fin := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d,down=%t,fin=%t", k, down, fin), func(t *testing.T) { cutAfter(t, k, down, fin) })
			}
		}
	}
}

func cutAfter(t *testing.T, k int64, down, fin bool) {
	f := faulttest.Fault{CutAfter: k, FIN: fin}
	if down {
		f = faulttest.Fault{CutAfterDown: k, FIN: fin}
	}
	p, from, to := pair(t, f)
	if down {
		from, to = to, from
	}
	data := numbered(int(k) + 100_000)
	wrote := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		wrote <- err
	}()
	got, err := io.ReadAll(to)
	if !bytes.Equal(got, data[:k]) {
		t.Errorf("%d bytes came, not the first %d", len(got), k)
	}
	if fin && err != nil || !fin && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the cut came as %v", err)
	}
	if n := p.Connections(); n != 0 {
		t.Errorf("%d connections are open after a cut", n)
	}
	if err := ends(t, from); fin != (err == io.EOF) {
		t.Errorf("to the sender, the cut came as %v", err)
	}
	if err := <-wrote; fin && err != nil {
		t.Errorf("what came after a FIN was not read: %v", err)
	}
	if down {
		transferred(t, p, 0, k)
	} else {
		transferred(t, p, k, 0)
	}
}

func TestCutAfterCountsFromSet(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	send(t, client, "before")
	expect(t, srv, "before")
	p.Set(faulttest.Fault{CutAfter: 5, CutAfterDown: 100})
	send(t, srv, "other direction")
	expect(t, client, "other direction")
	send(t, client, "1234")
	expect(t, srv, "1234")
	p.Set(faulttest.Fault{CutAfter: 5})
	send(t, client, "123456789")
	got, err := io.ReadAll(srv)
	if string(got) != "12345" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCutAfterMeetsEachConnection(t *testing.T) {
	s := newServer(t)
	p := faulttest.NewProxy(t, s.addr())
	p.Set(faulttest.Fault{CutAfter: 3})
	for range 3 {
		send(t, dial(t, p.Addr()), "123456")
		if got, err := io.ReadAll(s.accept(t)); string(got) != "123" || err == nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	p.Set(faulttest.Fault{})
	send(t, dial(t, p.Addr()), "123456")
	expect(t, s.accept(t), "123456")
}

func TestBlackHoleKeepsEverythingBack(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	send(t, client, "before")
	expect(t, srv, "before")
	p.Set(faulttest.Fault{BlackHole: true})
	send(t, client, "up")
	send(t, srv, "down")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	quiet(t, srv)
	quiet(t, client)
	transferred(t, p, 6, 0)
	if n := p.Connections(); n != 1 {
		t.Errorf("%d connections are open, not 1", n)
	}
	p.Set(faulttest.Fault{})
	expect(t, srv, "up")
	expect(t, client, "down")
	if err := ends(t, srv); err != io.EOF {
		t.Errorf("the end came as %v", err)
	}
}

func TestBlackHoleAcceptsAndTellsNobody(t *testing.T) {
	s := newServer(t)
	p := faulttest.NewProxy(t, s.addr())
	p.Set(faulttest.Fault{BlackHole: true})
	client, cut := dial(t, p.Addr()), dial(t, p.Addr())
	send(t, client, "up")
	quiet(t, client)
	if n := p.Connections(); n != 2 || len(s.accepted) != 0 {
		t.Errorf("%d connections are open and %d came through, not 2 and 0", n, len(s.accepted))
	}
	p.Cut()
	if err := ends(t, cut); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a cut came as %v", err)
	}
	client = dial(t, p.Addr())
	send(t, client, "again")
	p.Set(faulttest.Fault{})
	expect(t, s.accept(t), "again")
}

func TestHalfOpenIsSilentOneWayAndThrowsAwayTheOther(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	p.Set(faulttest.Fault{HalfOpen: true})
	send(t, srv, "kept")
	data := numbered(8 << 20) // more than fits anywhere
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "all was thrown away", func() bool { return p.Discarded() == int64(len(data)) })
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	quiet(t, client)
	quiet(t, srv)
	transferred(t, p, 0, 0)
	p.Set(faulttest.Fault{})
	expect(t, client, "kept")
	if got, err := io.ReadAll(srv); len(got) != 0 || err != nil {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
}

func TestLatencyDelaysAndKeepsBursts(t *testing.T) {
	const latency = time.Second
	_, client, srv := pair(t, faulttest.Fault{Latency: latency})
	began := time.Now()
	go func() {
		for range 200 {
			_, _ = client.Write([]byte("x"))
		}
	}()
	expect(t, srv, string(bytes.Repeat([]byte("x"), 200))) // longer than patience, one after the other
	if d := time.Since(began); d < latency {
		t.Errorf("200 writes took %s", d)
	}
	began = time.Now()
	send(t, srv, "back")
	expect(t, client, "back")
	if d := time.Since(began); d < latency {
		t.Errorf("the way back took %s", d)
	}
}

func TestLatencyIsLiftedForWhatIsOnItsWay(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{Latency: time.Hour})
	send(t, client, "slow")
	quiet(t, srv)
	p.Set(faulttest.Fault{})
	expect(t, srv, "slow")
}

func TestRateIsNotExceeded(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{Rate: 10_000})
	data := string(numbered(2000))
	began := time.Now()
	send(t, client, data)
	expect(t, srv, data)
	if d, least := time.Since(began), 180*time.Millisecond; d < least { // the last 20 ms are one write
		t.Errorf("%d bytes took %s, less than %s", len(data), d, least)
	}
	p.Set(faulttest.Fault{Rate: 1})
	send(t, client, data)
	p.Set(faulttest.Fault{})
	expect(t, srv, data)
}

func TestSliceKeepsItsBounds(t *testing.T) {
	fault := faulttest.Fault{Slice: 3, Rate: 1} // a slice is seconds away from the next one,
	p, client, srv := pair(t, fault)
	send(t, client, "0123456789")
	buf := make([]byte, 100)
	for _, want := range []int{3, 3, 3, 1} {
		if n, err := srv.Read(buf); n != want || err != nil {
			t.Fatalf("a read has %d bytes, not %d: %v", n, want, err)
		}
		p.Set(fault) // unless it is let go
	}
}

func TestRefuseRefusesNewConnectionsOnly(t *testing.T) {
	s := newServer(t)
	p := faulttest.NewProxy(t, s.addr())
	for range 20 {
		client := dial(t, p.Addr())
		p.Set(faulttest.Fault{Refuse: true})
		if c, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a new connection was not refused: %v, %v", c, err)
		}
		if n := p.Connections(); n != 1 {
			t.Fatalf("%d connections are open, not 1", n)
		}
		send(t, client, "goes on")
		expect(t, s.accept(t), "goes on")
		p.Cut()
		p.Set(faulttest.Fault{})
		send(t, dial(t, p.Addr()), "again")
		expect(t, s.accept(t), "again")
		p.Cut()
	}
}
