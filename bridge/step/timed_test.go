package step_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

func TestDelay(t *testing.T) {
	playAll(t, []scene{
		{"each message by itself", "delay: 5s", `
0s a=1
2s b=2 a=3
20s end`, `
0s: owes 1
2s: owes 2
5s: a=1, owes 2
7s: b=2, a=3`},
		{"at a stop all goes at once", "delay: {for: 1h}", `
0s a=1
1s a=2
2s end`, `
0s: owes 1
1s: owes 2
2s: a=1, a=2`},
		{"the source waits when too much is held", "delay: {for: 5s, max_held: 2}", `
0s a=1
1s a=2
2s a=3
3s a=4 a=5
20s end`, `
0s: owes 1
1s: owes 2
5s: a=1, owes 2
7s: a=2, a=3, owes 1
10s: a=4, a=5`},
		{"bytes count, and more than all goes in alone", "delay: {for: 5s, max_bytes: 300B}", `
0s a=0123456789012345678901234567890123456789
1s a=x
3s a=0123456789012345678901234567890123456789
20s end`, `
0s: owes 1
1s: owes 2
5s: a=0123456789012345678901234567890123456789, owes 2
6s: a=x, owes 2
8s: a=0123456789012345678901234567890123456789`},
	})
	mistakes(t, map[string]string{
		"delay: 0s": "for: must be above 0", "delay: {}": "for is missing", "delay: {for: 1s, max_held: 0}": "max_held",
		"delay: {for: 1s, max_bytes: 0}": "max_bytes: must be above 0",
	})
}

// A stop does not wait until there is room for what has been read: it lets all go.
func TestStopEndsWaitingForRoom(t *testing.T) {
	for _, yaml := range []string{"delay: {for: 1h, max_held: 1}", "throttle: {rate: 1, per: 1h, max_held: 1}"} {
		synctest.Test(t, func(t *testing.T) {
			env, stop := bridgetest.Env(t, "p-step"), make(chan struct{})
			env.Stopping = stop
			p := &player{t: t, step: openIn(t, yaml, env), began: time.Now()}
			p.process(false, bridge.Message{Payload: []byte("1")}, bridge.Message{Payload: []byte("2")})
			var waiting sync.WaitGroup
			waiting.Go(func() { p.process(false, bridge.Message{Payload: []byte("3")}) })
			synctest.Wait()
			close(stop)
			waiting.Wait()
			p.process(true)
			if last := p.said[len(p.said)-1]; !strings.HasPrefix(last, "0s: ") || !strings.HasSuffix(last, "=2, =3") {
				t.Errorf("%s: %q", yaml, p.said)
			}
		})
	}
}

func TestThrottle(t *testing.T) {
	playAll(t, []scene{
		{"what is in time passes as it is", "throttle: 2", `
0s a=1
500ms a=2
2s a=3
3s end`, `
0s: a=1↷
500ms: a=2↷
2s: a=3↷`},
		{"what is early waits for its turn", "throttle: {rate: 2, max_held: 100}", `
0s a=1 b=2 a=3
200ms a=4
5s end`, `
0s: a=1↷, owes 1
200ms: owes 2
500ms: b=2, owes 3
1s: a=3, owes 3
1.5s: a=4`},
		{"a pause is good for a burst", "throttle: {rate: 60, per: 1m, burst: 3}", `
0s a=1 a=2 a=3 a=4
10s a=5 a=6 a=7 a=8
20s end`, `
0s: a=1↷, a=2↷, a=3↷, owes 1
1s: a=4
10s: a=5↷, a=6↷, a=7↷, owes 1
11s: a=8`},
		{"each key has its own rate", `throttle: {rate: 1, key: "{{ topic }}"}`, `
0s a=1 a=2 b=3
5s end`, `
0s: a=1↷, b=3↷, owes 1
1s: a=2`},
		{"or it is dropped", "throttle: {rate: 1, burst: 2, excess: drop}", `
0s a=1 a=2 a=3
1s a=4 a=5
9s end`, `
0s: a=1↷, a=2↷, drops 1
1s: a=4↷, drops 1`},
		{"a stop lets all go", "throttle: 0.001", `
0s a=1 a=2
1s end`, `
0s: a=1↷, owes 1
1s: a=2`},
		{"the source waits when too much is held", "throttle: {rate: 1, max_held: 2}", `
0s a=1 a=2 a=3
500ms a=4 a=5
20s end`, `
0s: a=1↷, owes 1
2s: a=2, a=3, owes 1
3s: a=4, owes 2
4s: a=5`},
		{"a key too many is refused until one has had a pause", `throttle: {rate: 1, key: "{{ topic }}", max_keys: 2}`, `
0s a=1 b=2 c=3
2s c=4 d=5
3s end`, `
0s: a=1↷, b=2↷, refuses 2: there are more keys at a time than max_keys allows
2s: c=4↷, d=5↷`},
		{"what has no key is refused", `throttle: {rate: 1, key: "{{ payload == 'x' ? json.k : payload }}"}`, `
0s a=x a=1
3s end`, `
0s: a=1↷, refuses 0: evaluate payload == 'x' ? json.k : payload: the payload is not JSON`},
	})
	mistakes(t, map[string]string{
		"throttle: 0": "rate: must be above 0", "throttle: {rate: 1, per: 0s}": "per: must be above 0",
		"throttle: {rate: 10000000000}":                "rate: is out of range",
		"throttle: {rate: 1, per: 1w, burst: 1000000}": "rate: is out of range",
		"throttle: {rate: 1, excess: lose}":            "allowed", "throttle: {rate: 1, burst: 0}": "burst",
		"throttle: {rate: 1, max_bytes: 0}": "max_bytes: must be above 0",
		"throttle: 100/s":                   `not "100/s"; or under it the keys rate`,
	})
}

func TestSample(t *testing.T) {
	playAll(t, []scene{
		{"one of three", "sample: 3", `
0s a=1 a=2 a=3 a=4
1s a=5 a=6 a=7
2s end`, `
0s: a=1↷, a=4↷, drops 2
1s: a=7↷, drops 2`},
		{"of each key", `sample: {every: 2, key: "{{ topic }}"}`, `
0s a=1 b=1 a=2 b=2 b=3
1s end`, `
0s: a=1↷, b=1↷, b=3↷, drops 2`},
		{"more keys than are remembered begin anew", `sample: {every: 2, key: "{{ topic }}", max_keys: 1}`, `
0s a=1 b=1 a=2 a=3
1s end`, `
0s: a=1↷, b=1↷, a=2↷, drops 1`},
		{"one a period", "sample: {period: 10s}", `
0s a=1 a=2
9s a=3
10s a=4
25s a=5
30s a=6
99s end`, `
0s: a=1↷, drops 1
9s: drops 1
10s: a=4↷
25s: a=5↷
30s: drops 1`},
		{"a period of each key", `sample: {period: 10s, key: "{{ topic }}", max_keys: 2}`, `
0s a=1 b=1 c=1 a=2
10s c=2
99s end`, `
0s: a=1↷, b=1↷, drops 1, refuses 2: there are more keys at a time than max_keys allows
10s: c=2↷`},
	})
	mistakes(t, map[string]string{
		"sample: {}":                     "every: is missing, and so is period",
		"sample: {every: 2, period: 1s}": "period: cannot stand beside every",
		"sample: 0":                      "every",
	})
}

func TestConflate(t *testing.T) {
	playAll(t, []scene{
		{"the newest of each topic", "conflate: 1s", `
0s a=1 b=1 a=2
500ms b=2
1500ms a=3
9s end`, `
0s: owes 1
500ms: owes 2
1s: a=2, b=2
1.5s: owes 1
2.5s: a=3`},
		{"of each key", `conflate: {period: 1s, key: "{{ payload }}"}`, `
0s a=1 b=1
9s end`, `
0s: owes 1
1s: b=1`},
		{"a stop lets all go", "conflate: 1h", `
0s a=1 a=2
1s end`, `
0s: owes 1
1s: a=2`},
		{"keys and bytes are bounded", "conflate: {period: 1s, max_keys: 2, max_bytes: 270B}", `
0s a=1 b=1 c=1 a=0123456789012345 a=2
5s end`, `
0s: refuses 2: there are more keys at a time than max_keys allows, refuses 3: it would take more than max_bytes allows to be held, owes 1
1s: b=1, a=2`},
	})
	mistakes(t, map[string]string{
		"conflate: 0s": "period: must be above 0", "conflate: {}": "period is missing",
		"conflate: {period: 1s, max_bytes: 0}": "max_bytes: must be above 0",
	})
}

func TestBatch(t *testing.T) {
	playAll(t, []scene{
		{"by count", "batch: 3", `
0s a=1 a=2
100ms b=3 b=4
900ms b=5 a=6
9s end`, `
0s: owes 1
100ms: b=[1,2,3], owes 1
900ms: a=[4,5,6]`},
		{"by time", "batch: {period: 10s}", `
0s a=1
9s a={"x":"y"}
11s a="z"
99s end`, `
0s: owes 1
9s: owes 2
10s: a=[1,{"x":"y"}]
11s: owes 1
21s: a=["z"]`},
		{"by bytes, and a larger one goes alone", "batch: {bytes: 10B}", `
0s a=111 a=222 a=333 a=1234567890123 a=4
9s end`, `
0s: a=[111,222], a=[333], a=[1234567890123], owes 1
1s: a=[4]`},
		{"of each key, without a time", `batch: {count: 2, period: 0s, key: "{{ topic }}"}`, `
0s a=1 b=1
99s b=2
199s b=3 a=2
299s end`, `
0s: owes 1
1m39s: b=[1,2], owes 2
3m19s: a=[1,2], owes 1
4m59s: b=[3]`},
		{"lines", "batch: {count: 2, output: lines}", `
0s a=x a=1⏎2 a=y
9s end`, `
0s: a=x⏎y, refuses 1: the payload has a line feed, so that output: lines would make two of it; use json or concat`},
		{"concat", "batch: {count: 3, output: concat}", `
0s a=x a=1⏎2 a=
9s end`, `
0s: a=x1⏎2`},
		{"what is no JSON", "batch: {count: 2}", `
0s a=x a=1 a= a=2
9s end`, `
0s: a=[1,2], refuses 0: the payload is not JSON, of which output: json makes an array; parse it first, or use lines or concat, refuses 2: the payload is not JSON, of which output: json makes an array; parse it first, or use lines or concat`},
		{"a stop lets all go", `batch: {period: 1h, key: "{{ topic }}"}`, `
0s a=1
1s b=2
2s a=3
3s end`, `
0s: owes 1
1s: owes 2
2s: owes 3
3s: a=[1,3], b=[2]`},
		{"beyond max_bytes the oldest goes early", `batch: {max_bytes: 300B, key: "{{ topic }}"}`, `
0s a=1
1ms b=2
2ms c=3
9s end`, `
0s: owes 1
1ms: owes 2
2ms: a=[1], owes 2
1.001s: b=[2], owes 2
1.002s: c=[3]`},
	})
	mistakes(t, map[string]string{
		"batch: {bytes: 0}":    "bytes: must be above 0",
		"batch: {output: xml}": "allowed", "batch: -1": "count", "batch: {max_bytes: 0}": "max_bytes: must be above 0",
	})
}

func TestLog(t *testing.T) {
	var log bytes.Buffer
	to := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	in := `
0s a=1 a=2
500ms a=3
1s a=4567890
2s b={}
9s end`
	said := play(t, func() bridge.Step {
		return openStep(t, `log: {text: "{{ topic == 'b' ? json.x : payload }}", level: warn, max_length: 4B}`, to)
	}, strings.TrimSpace(in))
	if diff := cmp.Diff([]string{"0s: a=1↷, a=2↷", "500ms: a=3↷", "1s: a=4567890↷", "2s: b={}↷"},
		said); diff != "" {
		t.Error(diff)
	}
	want := `
level=WARN msg=message messages=1 text=1
level=WARN msg=message messages=3 text=4567…
level=WARN msg=message messages=1 err="evaluate topic == 'b' ? json.x : payload: the value is nil; write (… ?? \"text\") if it may be missing"
`
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(log.String())); diff != "" {
		t.Error(diff)
	}
	mistakes(t, map[string]string{
		"log: {}":                     "text is missing",
		"log: {text: x, level: loud}": "allowed", "log: {text: x, max_length: 0}": "max_length: must be above 0",
	})
}

// What was held long ago costs nothing for what came and went since.
func TestOldDebtKeepsNothing(t *testing.T) {
	s := openStep(t, `batch: {count: 2, period: 0s, key: "{{ topic }}", output: concat}`, nil)
	var runner bridge.StepRunner
	for call := range uint64(20_000) {
		b := bridge.Batch{{Topic: "a"}, {Topic: "a"}}
		if call == 0 {
			b = bridge.Batch{{Topic: "rare"}}
		}
		o, err := runner.Process(t.Context(), s, call+1, b, false)
		if err != nil || o.Released != 0 {
			t.Fatal(o, err)
		}
	}
	if o, err := runner.Process(t.Context(), s, 99_999, bridge.Batch{{Topic: "rare"}}, false); err != nil ||
		o.Released != 99_999 {
		t.Errorf("%+v, %v", o, err)
	}
}

func BenchmarkTimed(b *testing.B) {
	for name, yaml := range map[string]string{
		"Throttle": "throttle: {rate: 100000000, burst: 1000000}",
		"Sample":   `sample: {every: 10, key: "{{ topic }}"}`,
		"Conflate": "conflate: 10ms",
		"Batch":    "batch: {count: 100, output: lines}",
		"Delay":    "delay: 1ms",
		"Log":      `log: "{{ topic }}"`,
	} {
		b.Run(name, func(b *testing.B) {
			s := openStep(b, yaml, slog.New(slog.DiscardHandler))
			var runner bridge.StepRunner
			in, call := make(bridge.Batch, 1024), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range in {
					in[i] = bridge.Message{Topic: "a", Payload: []byte("0123456789abcdef"), Time: time.Time{}}
				}
				call++
				if _, err := runner.Process(b.Context(), s, call, in, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(call)/1024, "ns/msg")
		})
	}
}
