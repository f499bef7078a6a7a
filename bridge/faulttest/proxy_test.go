package faulttest_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

func TestProxyIsTransparentWithoutAFault(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	send(t, client, "question")
	expect(t, srv, "question")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := ends(t, srv); err != io.EOF {
		t.Errorf("the end of one direction came as %v", err)
	}
	send(t, srv, "answer")
	expect(t, client, "answer")
	if n := p.Connections(); n != 1 {
		t.Errorf("%d connections are open, not 1", n)
	}
	srv.Close()
	if err := ends(t, client); err != io.EOF {
		t.Errorf("the end came as %v", err)
	}
	bridgetest.Eventually(t, "the connection is gone", func() bool { return p.Connections() == 0 })
	transferred(t, p, 8, 6)
}

func TestProxyPassesOnAReset(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		_, from, to := pair(t, faulttest.Fault{})
		if !fromClient {
			from, to = to, from
		}
		send(t, from, "last words")
		expect(t, to, "last words")
		_ = from.SetLinger(0)
		from.Close()
		if err := ends(t, to); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("from the client: %t: a reset came as %v", fromClient, err)
		}
	}
}

func TestProxyCountsConnectionsThatItHasNotAccepted(t *testing.T) {
	s := newServer(t)
	p := faulttest.NewProxy(t, s.addr())
	for i := range 50 {
		dial(t, p.Addr())
		if n := p.Connections(); n != i+1 {
			t.Fatalf("%d connections are open, not %d", n, i+1)
		}
	}
}

func TestCutResetsConnectionsThatWereJustOpened(t *testing.T) {
	s := newServer(t)
	p := faulttest.NewProxy(t, s.addr())
	for range 50 {
		client := dial(t, p.Addr())
		p.Cut()
		if n := p.Connections(); n != 0 {
			t.Fatalf("%d connections are open after a cut", n)
		}
		if err := ends(t, client); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("a cut came as %v", err)
		}
	}
}

func TestCutResetsBothSides(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	p.Cut()
	for _, c := range []net.Conn{client, srv} {
		if err := ends(t, c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a cut came as %v", err)
		}
	}
	send(t, dial(t, p.Addr()), "accepted again")
}

func TestSetTargetConcernsNewConnections(t *testing.T) {
	a, b := newServer(t), newServer(t)
	p := faulttest.NewProxy(t, a.addr())
	client := dial(t, p.Addr())
	srv := a.accept(t)
	p.SetTarget(b.addr())
	send(t, client, "old")
	expect(t, srv, "old")
	send(t, dial(t, p.Addr()), "new")
	expect(t, b.accept(t), "new")
}

func TestProxyResetsAConnectionWithoutAServer(t *testing.T) {
	p := faulttest.NewProxy(t, bridgetest.FreeAddr(t))
	c, err := net.Dial("tcp", p.Addr())
	if err == nil { // the reset was not faster than Dial
		err = ends(t, own(t, c.(*net.TCPConn)))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("that nobody listens came as %v", err)
	}
}

func TestSetInterruptsAWriteThatIsStuck(t *testing.T) {
	p, client, srv := pair(t, faulttest.Fault{})
	data := numbered(32 << 20) // more than the kernel takes
	wrote := make(chan error, 1)
	go func() {
		_, err := client.Write(data)
		client.CloseWrite()
		wrote <- err
	}()
	before := int64(-1)
	bridgetest.Eventually(t, "nothing moves", func() bool {
		now, _ := p.Transferred()
		still := now == before && now > 0
		before = now
		return still
	})
	p.Set(faulttest.Fault{BlackHole: true})
	stopped, _ := p.Transferred()
	p.Set(faulttest.Fault{BlackHole: true, Slice: 1000})
	transferred(t, p, stopped, 0)
	p.Set(faulttest.Fault{})
	got, err := io.ReadAll(srv)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came, %v, not the %d that were sent", len(got), err, len(data))
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	transferred(t, p, int64(len(data)), 0)
}

func TestBytesSurviveFaultsThatComeAndGo(t *testing.T) {
	random := faulttest.Rand(t)
	p, client, srv := pair(t, faulttest.Fault{})
	data := numbered(4 << 20)
	for _, way := range [][2]*net.TCPConn{{client, srv}, {srv, client}} {
		go func() {
			_, _ = way[0].Write(data)
			_ = way[0].CloseWrite()
		}()
	}
	got := make(chan []byte)
	for _, to := range []net.Conn{client, srv} {
		go func() {
			b, _ := io.ReadAll(to)
			got <- b
		}()
	}
	for range 200 {
		p.Set(faulttest.Fault{
			Slice:     random.IntN(3000),
			Rate:      random.IntN(2) * (1 + random.IntN(1<<20)),
			BlackHole: random.IntN(3) == 0,
			Refuse:    random.IntN(3) == 0,
		})
	}
	p.Set(faulttest.Fault{})
	for range 2 {
		if b := <-got; !bytes.Equal(b, data) {
			t.Errorf("%d bytes came, not the %d that were sent", len(b), len(data))
		}
	}
	transferred(t, p, int64(len(data)), int64(len(data)))
}
