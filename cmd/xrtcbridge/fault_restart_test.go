package main

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// F26, without a reload of a running bridge, which does not exist: it is restarted under load with
// configuration that is the same, has one pipeline more or less, is invalid, or reaches the sink by
// another address. Some are told to stop, some are killed.
func TestF26RestartsWithOtherConfig(t *testing.T) {
	restarts := faulttest.Pick(20, 200)
	n := restarts * faulttest.Pick(800, 1500)
	rng := faulttest.Rand(t)
	broker, h, dir := bridgetest.StartMosquitto(t), startHub(t), t.TempDir()
	ledger := new(faulttest.Ledger)
	out := h.outlet("OUT", ledger)
	const more = `
  more:
    from: {generate: {interval: 10ms, payload: more}}
    to: discard
`
	addr, rest := h.addr, ""
	p := start(t, dir, io.Discard, "run", buffered(t, dir, broker, addr, rest))
	p.opened(4)
	from := newProducer(t, broker.URL, "in", 256, ledger)
	published := make(chan struct{})
	go func() { defer close(published); from.publish(n, 2000, t.Context().Done()) }()
	kills, invalid := 0, 0
	var changes []int
	for k := range restarts {
		if len(changes) == 0 {
			changes = rng.Perm(10)
		}
		what := changes[0]
		changes = changes[1:]
		at := n / (restarts + 1) * (k + 1)
		eventually(t, fmt.Sprintf("%d messages are through", at), func() bool { return out.delivered() >= at })
		switch {
		case rng.IntN(4) == 0:
			kills++
			p.kill()
		default:
			p.signal(syscall.SIGTERM)
			if code := p.exit(); code != exitDone && p.log.count(bridge.ErrNeverConnected.Error()) == 0 {
				t.Errorf("exit code %d", code)
			}
		}
		switch {
		case what < 4: // the same
		case what < 7:
			if rest == "" {
				rest = more
			} else {
				rest = ""
			}
		case what < 9:
			invalid++
			bad := start(t, dir, io.Discard, "run", buffered(t, dir, broker, addr, "    max_bach: 5\n"))
			if code := bad.exit(); code != exitUsage {
				t.Errorf("exit code %d with invalid configuration", code)
			}
			if text := bad.log.String(); !strings.Contains(text, "pipelines.yaml:8:5:") || !strings.Contains(text, "did you mean max_batch?") {
				t.Errorf("the error does not say where and what:\n%s", text)
			}
		default:
			addr = faulttest.NewProxy(t, h.addr).Addr()
		}
		p = start(t, dir, io.Discard, "run", buffered(t, dir, broker, addr, rest))
		p.opened(1)
	}
	<-published
	out.await(n)
	p.opened(4 + strings.Count(rest, "discard")*2)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	out.delivered()
	ledger.Check(t, n)
	const window = 1000
	if again := ledger.Report().Duplicated; again > kills*window {
		t.Errorf("%d came again, more than %d kills explain", again, kills)
	}
	t.Logf("%d restarts, %d of them kills, %d tries with invalid configuration", restarts, kills, invalid)
}
