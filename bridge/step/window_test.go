package step_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

// The clock of these tests begins at 2000-01-01T00:00:00Z.

func TestWindowByArrival(t *testing.T) {
	playAll(t, []scene{
		{"side by side, aligned to the clock", "window: 10s", `
4s a=1
9s b=2
10s a=3
35s a=4
99s end`, `
4s: owes 1
9s: owes 2
10s: b={"start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":2}, owes 1
20s: a={"start":"2000-01-01T00:00:10Z","end":"2000-01-01T00:00:20Z","count":1}
35s: owes 1
40s: a={"start":"2000-01-01T00:00:30Z","end":"2000-01-01T00:00:40Z","count":1}`},
		{"of each key", `window: {every: 10s, key: "{{ topic }}", value: "{{ json }}", functions: [mean, max]}`, `
1s a=1 b=5 a=3
2s b=6.50
11s end`, `
1s: owes 1
2s: owes 2
10s: a={"key":"a","start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":2,"mean":2,"max":3}, b={"key":"b","start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":2,"mean":5.75,"max":6.5}`},
		{"a stop lets all go, partial", "window: 10s", `
1s a=1
2s end`, `
1s: owes 1
2s: a={"start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":1,"partial":true}`},
		{"overlapping", `window: {every: 10s, size: 30s, value: "{{ json }}", functions: [list, first, last, sum, delta]}`, `
1s a=1
12s b=2 b=3
99s end`, `
1s: owes 1
10s: a={"start":"1999-12-31T23:59:40Z","end":"2000-01-01T00:00:10Z","count":1,"list":[1],"first":1,"last":1,"sum":1,"delta":0}, owes 2
12s: owes 3
20s: b={"start":"1999-12-31T23:59:50Z","end":"2000-01-01T00:00:20Z","count":3,"list":[1,2,3],"first":1,"last":3,"sum":6,"delta":2}, owes 4
30s: b={"start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:30Z","count":3,"list":[1,2,3],"first":1,"last":3,"sum":6,"delta":2}, owes 3
40s: b={"start":"2000-01-01T00:00:10Z","end":"2000-01-01T00:00:40Z","count":2,"list":[2,3],"first":2,"last":3,"sum":5,"delta":1}`},
		{"overlapping, at a stop", `window: {every: 10s, size: 30s}`, `
1s a=1
12s b=2
14s end`, `
1s: owes 1
10s: a={"start":"1999-12-31T23:59:40Z","end":"2000-01-01T00:00:10Z","count":1}, owes 2
12s: owes 3
14s: b={"start":"1999-12-31T23:59:50Z","end":"2000-01-01T00:00:20Z","count":2,"partial":true}`},
	})
	mistakes(t, map[string]string{
		"window: {}": "every: is missing", "window: {every: 1s, session: 1s}": "session: cannot stand beside every",
		"window: {session: 1s, size: 2s}":                                      "size: cannot",
		"window: {every: 10s, size: 15s}":                                      "size: must be every, or a multiple",
		"window: {session: 2h}":                                                "max_session: must not be below session",
		"window: {every: 1s, value: 1}":                                        "functions: are missing",
		"window: {every: 1s, functions: [mean]}":                               "functions: want a value",
		"window: {every: 1s, functions: [mode], value: 1}":                     "functions",
		"window: {every: 1s, value: 1, values: {a: 1}, functions: [sum]}":      "values: cannot stand beside value",
		`window: {every: 1s, values: {key: "{{ json.x }}"}, functions: [sum]}`: "cannot have that name",
		"window: {every: 600w, value: 1, functions: [sum]}":                    "every: is too long",
		"window: {every: 1s, max_bytes: 0}":                                    "max_bytes: must be above 0",
		`window: {every: 1s, late: maybe}`:                                     "allowed",
	})
}

func TestWindowFunctions(t *testing.T) {
	for _, c := range []struct{ functions, in, want string }{
		{"sum", "0.1 0.2 0.3 1e16 -1e16", `"sum":0.6`},
		{"sum", "1e308 1e308", `"sum":null`},
		{"mean", "1 2", `"mean":1.5`},
		{"min, max", "3 12345678901234567890 1.10 1.1", `"min":1.10,"max":12345678901234567890`},
		{"median", "5 1 3", `"median":3`},
		{"median", "5 1 3 4", `"median":3.5`},
		{"p95", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 20 19", `"p95":19`},
		{"p95", "7", `"p95":7`},
		{"first, last", `"a" 1 [1,{"b":2}]`, `"first":"a","last":[1,{"b":2}]`},
		{"delta", "10 7", `"delta":-3`},
		{"list", `1.50 "x" true {"b":1,"a":2}`, `"list":[1.50,"x",true,{"b":1,"a":2}]`},
		{"count, sum, sum", "1e-9 2e21", `"sum":2e+21`},
	} {
		var in string
		n := 0
		for _, w := range splitJSON(c.in) {
			in += ` a={"v":` + w + `}`
			n++
		}
		said := play(t, func() bridge.Step {
			return openStep(t, `window: {every: 10s, value: "{{ json.v }}", functions: [`+c.functions+`]}`, nil)
		}, "0s"+in+"\n10s end")
		want := fmt.Sprintf(`10s: a={"start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":%d,%s}`, n, c.want)
		if len(said) != 2 || said[1] != want {
			t.Errorf("%s of %s: got %v, want %s", c.functions, c.in, said, want)
		}
	}
}

func TestWindowSessions(t *testing.T) {
	playAll(t, []scene{
		{"until none came", `window: {session: 10s, key: "{{ topic }}"}`, `
1s a=1
5s b=1
9s a=2
18s a=3
99s end`, `
1s: owes 1
5s: owes 2
9s: owes 3
11s: owes 4
15s: b={"key":"b","start":"2000-01-01T00:00:05Z","end":"2000-01-01T00:00:05Z","count":1}, owes 5
18s: owes 6
19s: owes 7
28s: a={"key":"a","start":"2000-01-01T00:00:01Z","end":"2000-01-01T00:00:18Z","count":3}`},
		{"or for too long", `window: {session: 10s, max_session: 20s, value: "{{ json }}", functions: [list]}`, `
1s a=1
10s a=2
19s a=3
22s a=4
99s end`, `
1s: owes 1
10s: owes 2
11s: owes 3
19s: owes 4
20s: owes 5
22s: a={"start":"2000-01-01T00:00:01Z","end":"2000-01-01T00:00:19Z","count":3,"list":[1,2,3],"partial":true}, owes 1
32s: a={"start":"2000-01-01T00:00:22Z","end":"2000-01-01T00:00:22Z","count":1,"list":[4]}`},
		{"a stop", `window: {session: 10s}`, `
1s a=1 a=2
5s end`, `
1s: owes 1
5s: a={"start":"2000-01-01T00:00:01Z","end":"2000-01-01T00:00:01Z","count":2,"partial":true}`},
		{"two become one", `window: {session: 10s, time: "{{ json }}", lateness: 30s, idle: 1m, value: "{{ json }}", functions: [list, first, last]}`, `
0s a=100 a=115
1s b=108
99s end`, `
0s: owes 1
1s: owes 2
1m1s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:55Z","count":3,"list":[100,108,115],"first":100,"last":115,"partial":true}`},
		{"late", `window: {session: 10s, time: "{{ json }}", lateness: 0s, value: "{{ json }}", functions: [list]}`, `
0s a=100 a=120 a=100 a=105 a=119
1s end`, `
0s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:40Z","count":1,"list":[100]}, a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:45Z","count":2,"list":[100,105],"late":true}, owes 1
1s: a={"start":"1970-01-01T00:01:59Z","end":"1970-01-01T00:02:00Z","count":2,"list":[120,119],"partial":true}`},
	})
}

func TestWindowByTime(t *testing.T) {
	w := func(more string) string {
		return `window: {every: 10s, time: "{{ json }}", lateness: 5s, value: "{{ json }}", functions: [list]` + more + `}`
	}
	playAll(t, []scene{
		{"a window ends when a newer message says so", w(""), `
0s a=101 a=109 a=114
1s a=108 a=115
2s a=125
3s end`, `
0s: owes 1
1s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":3,"list":[101,109,108]}, owes 2
2s: a={"start":"1970-01-01T00:01:50Z","end":"1970-01-01T00:02:00Z","count":2,"list":[114,115]}, owes 1
3s: a={"start":"1970-01-01T00:02:00Z","end":"1970-01-01T00:02:10Z","count":1,"list":[125],"partial":true}`},
		{"late messages make another one", w(""), `
0s a=101 a=115
1s b=102 b=103 b=95
2s end`, `
0s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[101]}, owes 1
1s: b={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":2,"list":[102,103],"late":true}, b={"start":"1970-01-01T00:01:30Z","end":"1970-01-01T00:01:40Z","count":1,"list":[95],"late":true}, owes 2
2s: a={"start":"1970-01-01T00:01:50Z","end":"1970-01-01T00:02:00Z","count":1,"list":[115],"partial":true}`},
		{"or are dropped", w(", late: drop"), `
0s a=101 a=115 a=102
2s end`, `
0s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[101]}, drops 1, owes 1
2s: a={"start":"1970-01-01T00:01:50Z","end":"1970-01-01T00:02:00Z","count":1,"list":[115],"partial":true}`},
		{"or refused", w(", late: refuse"), `
0s a=101 a=115 a=102
2s end`, `
0s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[101]}, refuses 2: it is late: all windows of its time have ended, owes 1
2s: a={"start":"1970-01-01T00:01:50Z","end":"1970-01-01T00:02:00Z","count":1,"list":[115],"partial":true}`},
		{"when nothing comes all end, and nothing is late by that", w(", idle: 1m"), `
0s a=101
90s a=102
99s end`, `
0s: owes 1
1m0s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[101],"partial":true}
1m30s: owes 1
1m39s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[102],"partial":true}`},
		{"without that they wait", w(", idle: 0s"), `
0s a=101
9999s end`, `
0s: owes 1
2h46m39s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:01:50Z","count":1,"list":[101],"partial":true}`},
		{"overlapping, and first and last by time", `window: {every: 10s, size: 20s, time: "{{ json }}", lateness: 0s, value: "{{ json }}", functions: [list, first, last]}`, `
0s a=112 a=101 a=118
1s a=120 a=105 a=130 a=95
2s end`, `
0s: owes 1
1s: a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:02:00Z","count":3,"list":[101,112,118],"first":101,"last":118}, a={"start":"1970-01-01T00:01:50Z","end":"1970-01-01T00:02:10Z","count":3,"list":[112,118,120],"first":112,"last":120}, a={"start":"1970-01-01T00:01:40Z","end":"1970-01-01T00:02:00Z","count":1,"list":[105],"first":105,"last":105,"late":true}, a={"start":"1970-01-01T00:01:30Z","end":"1970-01-01T00:01:50Z","count":1,"list":[95],"first":95,"last":95,"late":true}, owes 1
2s: a={"start":"1970-01-01T00:02:00Z","end":"1970-01-01T00:02:20Z","count":2,"list":[120,130],"first":120,"last":130,"partial":true}`},
		{"what the time may be", `window: {every: 1s, time: "{{ json }}", late: refuse, max_ahead: 1h}`, `
0s a="2000-01-01T00:00:00.5+01:00" a=946681200.25 a="1999" a=null a=7e9 a=-8e9 a=946688401 a=x
1s end`, `
0s: refuses 2: time: the time is neither a number of seconds since 1970 nor a text like 2026-11-28T08:00:00Z, refuses 3: time: evaluate json: the value is nil; write (… ?? "text") if it may be missing, refuses 4: time: the time is neither a number of seconds since 1970 nor a text like 2026-11-28T08:00:00Z, refuses 5: time: the time is neither a number of seconds since 1970 nor a text like 2026-11-28T08:00:00Z, refuses 6: its time is further ahead of the clock than max_ahead allows, refuses 7: time: evaluate json: the payload is not JSON, owes 1
1s: a={"start":"1999-12-31T23:00:00Z","end":"1999-12-31T23:00:01Z","count":2,"partial":true}`},
	})
}

func TestWindowRefuses(t *testing.T) {
	playAll(t, []scene{
		{"what is no number", `window: {every: 10s, values: {t: "{{ json.t }}", h: 1}, functions: [sum]}`, `
0s a={"t":1} a={"t":"x"} a={"t":1e999} a={} a=x
10s end`, `
0s: refuses 1: values.t: the value is not a finite number; write float(…) if it is one in a text, refuses 2: values.t: the value is not a finite number; write float(…) if it is one in a text, refuses 3: values.t: evaluate json.t: the value is nil; write (… ?? "text") if it may be missing, refuses 4: values.t: evaluate json.t: the payload is not JSON, owes 1
10s: a={"start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":1,"t":{"sum":1},"h":{"sum":1}}`},
		{"more keys and bytes than it may hold", `window: {every: 10s, key: "{{ topic }}", value: "{{ payload }}", functions: [list], max_keys: 2, max_bytes: 1100B}`, `
0s a=1 b=1 c=1
1s a=0123456789012345678901234567890123456789012345678901234567890123456789
10s c=1
11s end`, `
0s: refuses 2: there are more keys at a time than max_keys allows, owes 1
1s: refuses 0: it would take more than max_bytes allows to be held, owes 2
10s: a={"key":"a","start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":1,"list":["1"]}, b={"key":"b","start":"2000-01-01T00:00:00Z","end":"2000-01-01T00:00:10Z","count":1,"list":["1"]}, owes 1
11s: c={"key":"c","start":"2000-01-01T00:00:10Z","end":"2000-01-01T00:00:20Z","count":1,"list":["1"],"partial":true}`},
	})
}

// Short numbers are what strconv takes them for, to the bit.
func TestNumbersOfWindows(t *testing.T) {
	in := []string{
		"0", "-0", "1", "-1.5", "0.1", "123456789012345", "12345678901234.5", "0.00000000000001", "-99999999999.999",
		"1e3", "-2E-7", "9007199254740993", "0.1234567890123456789",
	}
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	for range 10_000 {
		in = append(in, strconv.FormatFloat(rng.NormFloat64()*1e5, 'f', rng.IntN(10), 64))
	}
	for _, text := range in {
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := step.Number([]byte(text)); err != nil || math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", ".", ".5", "1.2.3", "x", "0x10", "+1", "Inf", "1e999", `"1"`, "1-"} {
		if got, err := step.Number([]byte(text)); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// clock is one that is set.
type clock struct {
	bridge.TimeSource
	now time.Time
}

func (c *clock) Now() time.Time { return c.now }

// F25: a clock that is set neither loses a message nor keeps one for long.
func TestF25WindowWhoseClockIsSet(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	for name, c := range map[string]struct {
		step string
		in   []int64  // the time of each call, which has a message that says it
		want []string // what is said then
	}{
		"far ahead":     {"every: 10s", []int64{1, 2, 5001}, []string{"", "", `10 [1,2]`}},
		"far back":      {"every: 10s", []int64{5001, 5002, 1, 12}, []string{"", "", `5010 [5001,5002] partial`, `10 [1]`}},
		"a little back": {"every: 10s", []int64{9, 11, 8, 19, 21}, []string{"", `10 [9]`, "", "", `20 [11,8,19]`}},
		"back by less than the size": {
			"every: 10s, size: 30s",
			[]int64{35, 41, 22, 51},
			[]string{"", `40 [35]`, "", `50 [35,41,22]`},
		},
		"back in a session": {
			"session: 10s",
			[]int64{5001, 5002, 1, 12},
			[]string{"", "", `5002 [5001,5002] partial`, `1 [1]`},
		},
	} {
		source := &clock{}
		env := bridgetest.Env(t, "p-step")
		env.Clock = bridge.NewClock(source)
		p, err := parse(`pipelines: {p: {from: stdio, to: stdio, steps: [window: {` + c.step +
			`, value: "{{ json }}", functions: [list]}]}}`)
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Pipelines[0].Steps[0].Open(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		var runner bridge.StepRunner
		var got []string
		for i, seconds := range c.in {
			source.now = at(seconds)
			o, err := runner.Process(t.Context(), s, uint64(i)+1, bridge.Batch{{Payload: fmt.Append(nil, seconds)}}, false)
			if err != nil || len(o.Held) != 1 {
				t.Fatal(o, err)
			}
			said := ""
			for _, m := range o.Messages {
				var w struct {
					End     time.Time
					List    json.RawMessage
					Partial bool
				}
				if err := json.Unmarshal(m.Payload, &w); err != nil {
					t.Fatal(err)
				}
				said += fmt.Sprintf("%d %s", w.End.Unix(), w.List)
				if w.Partial {
					said += " partial"
				}
			}
			got = append(got, said)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	for name, yaml := range map[string]string{
		"Tumbling": `window: {every: 1m, key: "{{ topic }}", value: "{{ json.t }}", functions: [mean, max]}`,
		"Sliding":  `window: {every: 10s, size: 1m, key: "{{ topic }}", value: "{{ json.t }}", functions: [mean, max]}`,
		"Session":  `window: {session: 1m, key: "{{ topic }}", value: "{{ json.t }}", functions: [mean, max]}`,
		"ByTime":   `window: {every: 1m, key: "{{ topic }}", value: "{{ json.t }}", functions: [mean, max], time: "{{ json.at }}"}`,
	} {
		b.Run(name, func(b *testing.B) {
			s := openStep(b, yaml, nil)
			var runner bridge.StepRunner
			topics, payloads := make([]string, 10_000), make([][]byte, 10_000)
			for i := range topics {
				topics[i] = fmt.Sprintf("sensors/room-%d/temperature", i)
				payloads[i] = fmt.Appendf(nil, `{"at":%d,"room":%d,"t":%d.%d}`, 1_700_000_000+i%2, i, i%40, i%10)
			}
			in, call, n := make(bridge.Batch, 1024), uint64(0), 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range in {
					in[i] = bridge.Message{Topic: topics[n%10_000], Payload: payloads[n%10_000], Time: time.Time{}}
					n++
				}
				call++
				if _, err := runner.Process(b.Context(), s, call, in, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/msg")
		})
	}
}

func splitJSON(text string) (all []string) {
	depth, start := 0, 0
	for i, c := range text + " " {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ' ':
			if depth == 0 {
				all, start = append(all, text[start:i]), i+1
			}
		}
	}
	return all
}
