package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// F26, by restarts; for reloads see TestF26ReloadsUnderLoad. A bridge is restarted under load with
// configuration that is the same, has one pipeline more or less, is invalid, or reaches the sink by
// another address. Some are told to stop, some are killed.
func TestF26RestartsWithOtherConfig(t *testing.T) {
	t.Parallel()
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
		bridgetest.Eventually(t, fmt.Sprintf("%d messages are through", at), func() bool { return out.delivered() >= at })
		switch {
		case rng.IntN(4) == 0:
			kills++
			p.kill()
		default:
			p.signal(syscall.SIGTERM)
			if code := p.exit(); code != exitDone && p.log.count(engine.ErrNeverConnected.Error()) == 0 {
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
			if text := bad.log.String(); !strings.Contains(text, "pipelines.yaml:8:5:") ||
				!strings.Contains(text, "did you mean max_batch?") {
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

// F26: reloads under load, by command and by SIGHUP, a fifth of them of broken files, and kill -9 in
// the middle of one. Nothing is lost, and a pipeline that is not touched keeps its connections.
func TestF26ReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	notIgnored(t, syscall.SIGHUP)
	reloads := faulttest.Pick(40, 200)
	n := reloads * faulttest.Pick(300, 1500) // of each pipeline; the long form takes five minutes
	rng := faulttest.Rand(t)
	broker, h, dir := bridgetest.StartMosquitto(t), startHub(t), t.TempDir()
	changed, kept := new(faulttest.Ledger), new(faulttest.Ledger)
	out, other := h.outlet("OUT", changed), h.outlet("KEPT", kept)
	config := func(setting string) string {
		return buffered(t, dir, broker, h.addr, fmt.Sprintf(`    %s
  kept:
    from: {mqtt: {url: "%s", topics: ["kept/#"], qos: 1, client_id: kept}}
    to: {nats: {url: "nats://%s", stream: KEPT, subject: "KEPT.{{ segment(topic, 1) }}"}}
`, setting, broker.URL, h.addr))
	}
	r := &reloading{dir: dir, file: config("max_batch: 1000")}
	run := func() {
		r.process = start(t, dir, io.Discard, "run", "--log-format", "json", r.file)
		r.opened(4)
		bridgetest.Eventually(t, "the bridge answers",
			func() bool { _, code := r.ask("status", r.file); return code == exitDone })
	}
	untouched := func() {
		t.Helper()
		if opens := r.opens("kept"); opens != 2 {
			t.Errorf("the ends of a pipeline that was never touched were opened %d times", opens)
		}
	}
	run()
	var publishing sync.WaitGroup
	for prefix, ledger := range map[string]*faulttest.Ledger{"in": changed, "kept": kept} {
		from := newProducer(t, broker.URL, prefix, 256, ledger)
		publishing.Go(func() { from.publish(n, 1000, t.Context().Done()) })
	}
	good, broken, hangups := "max_batch: 1000", 0, 0
	for k := range reloads {
		at := n / (reloads + 1) * k
		bridgetest.Eventually(t, fmt.Sprintf("%d messages are through", at), func() bool { return out.delivered() >= at })
		setting, want := fmt.Sprintf("max_batch: %d", 100+k), exitDone
		if k%5 == 1 {
			setting, want = fmt.Sprintf("max_bach: %d", rng.IntN(100)), exitFailed
			broken++
		}
		config(setting)
		if k == reloads/2 {
			asked, closed := make(chan struct{}), r.log.count(`"msg":"closed"`)
			go func() { defer close(asked); r.ask("reload", r.file) }()
			bridgetest.Eventually(t, "a pipeline stops", func() bool { return r.log.count(`"msg":"closed"`) > closed })
			r.kill()
			<-asked
			untouched()
			config(good)
			run()
			continue
		}
		if rng.IntN(2) == 0 {
			hangups++
			outcome := map[int]string{exitDone: `"msg":"reloaded"`, exitFailed: `"msg":"reload failed`}[want]
			before := r.log.count(outcome)
			r.signal(syscall.SIGHUP)
			bridgetest.Eventually(t, fmt.Sprintf("reload %d of %q ends as it should", k, setting),
				func() bool { return r.log.count(outcome) > before })
		} else if said, code := r.ask("reload", r.file); code != want {
			t.Errorf("reload %d of %q ends with %d, want %d:\n%s", k, setting, code, want, said)
		}
		if want == exitDone {
			good = setting
		}
	}
	publishing.Wait()
	out.await(n)
	other.await(n)
	untouched()
	r.signal(syscall.SIGTERM)
	if code := r.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	if said, code := r.ask("buffer", "verify", "relay", "-c", r.file); code != exitDone {
		t.Errorf("what a pipeline has left does not agree with its buffer:\n%s", said)
	}
	for _, l := range ledgersIn(r.log.String()) {
		if l["dropped"] != 0 || l["buffered"] != 0 {
			t.Errorf("the ledger says %v", l)
		}
	}
	out.delivered()
	other.delivered()
	changed.Check(t, n)
	kept.Check(t, n)
	t.Logf("%d reloads, %d of them by SIGHUP, %d of broken files", reloads, hangups, broken)
}
