package server_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// waitUntil waits for something that gives no event.
func waitUntil(t testing.TB, ok func() bool) {
	t.Helper()
	bridgetest.Eventually(t, "it comes to pass", ok)
}

// parked returns how many goroutines are in that function.
func parked(function string) int {
	stacks := make([]byte, 64<<10)
	for {
		if n := runtime.Stack(stacks, true); n < len(stacks) {
			return strings.Count(string(stacks[:n]), function+"(")
		}
		stacks = make([]byte, 2*len(stacks))
	}
}

// A thousand streams on one portal: each item reaches all of them, a stream takes at most 64 KiB,
// and nothing is left when they are closed.
//
// Both ends are in this process. The readers are bare sockets with one byte of buffer each and goroutines that only run
// while they read, so that what grows is the server's, kernel buffers aside: heap in use plus stacks in use, after a
// collection, with all streams open and idle after their first items.
func TestThousandStreams(t *testing.T) {
	const streams, items, most = 1000, 5, 64 << 10
	s := xrtctest.Start(t, config(t, func(l *server.Limits) { l.GetItemTimeout = time.Hour }))
	sender := login(t, s)
	inUse := func() int64 {
		runtime.GC()
		runtime.GC() // the first one only moves what pools hold
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	before, goroutines := inUse(), runtime.NumGoroutine()
	all := make([]*bareConn, streams)
	for i := range all {
		all[i] = openStream(t, s, login(t, s))
	}
	each := func(do func(*bareConn)) {
		var wait sync.WaitGroup
		for _, c := range all {
			wait.Go(func() { do(c) })
		}
		wait.Wait()
	}
	each(func(c *bareConn) { c.until("\r\n\r\n") })
	for i := range items {
		set(t, s, sender, fmt.Sprintf("a:item%d", i))
		want := fmt.Sprintf(`"payload":"item%d"`, i)
		each(func(c *bareConn) {
			if got := c.until("}]}\n"); strings.Count(got, want) != 1 || strings.Count(got, "portalid") != 1 {
				t.Errorf("got %q, want one item with %s", got, want)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	grown := (inUse() - before) / streams
	t.Logf("%d bytes a stream", grown)
	if grown > most {
		t.Errorf("a stream takes %d bytes, %d are the most", grown, most)
	}
	if got := parked("server.(*get).stream"); got != streams {
		t.Errorf("%d streams are open, want %d", got, streams)
	}
	for _, c := range all {
		_ = c.Close()
	}
	waitUntil(t, func() bool { return parked("server.(*get).stream") == 0 && runtime.NumGoroutine() <= goroutines+2 })
	set(t, s, sender, "a:last")
}

// bareConn is a connection that costs a test next to nothing.
type bareConn struct {
	*wireConn
}

func openStream(t *testing.T, s *xrtctest.Server, cookie string) *bareConn {
	t.Helper()
	c := dial(t, s.Addr)
	c.r = nil
	c.post(pathGet, cookie, streamA)
	return &bareConn{c}
}

// until reads to the end of a text that the server flushes.
func (c *bareConn) until(end string) string {
	var all []byte
	var one [1]byte
	for !strings.HasSuffix(string(all), end) {
		if _, err := c.Read(one[:]); err != nil {
			c.t.Errorf("read: %v", err)
			return string(all)
		}
		all = append(all, one[0])
	}
	return string(all)
}

// All streams of one session share its items: together they bring each once.
func TestStreamsShareSession(t *testing.T) { synctest.Test(t, streamsShareSession) }

func streamsShareSession(t *testing.T) {
	const streams, items = 10, 50
	s := start(t, config(t, func(l *server.Limits) { l.GetItemTimeout = 300 * time.Millisecond }))
	cookie := login(t, s)
	var mu sync.Mutex
	seen := map[string]int{}
	var wait sync.WaitGroup
	for range streams {
		wait.Go(func() {
			for l := range strings.Lines(post(t, s, pathGet, cookie, streamA).Body.String()) {
				for _, i := range decode(t, l).Items {
					mu.Lock()
					seen[i.Payload]++
					mu.Unlock()
				}
			}
		})
	}
	synctest.Wait() // all are waiting
	for i := range items {
		set(t, s, cookie, fmt.Sprintf("a:%d", i))
	}
	wait.Wait()
	for i := range items {
		if got := seen[fmt.Sprint(i)]; got != 1 {
			t.Errorf("item %d came %d times", i, got)
		}
	}
}
