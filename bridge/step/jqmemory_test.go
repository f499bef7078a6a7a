package step_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// most returns how far the heap grew while f ran.
func mostOfHeap(f func()) uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	used := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	runtime.GC()
	before := used()
	most, done := before, make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(2 * time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-done:
				return
			case <-look.C:
				most = max(most, used())
			}
		}
	})
	f()
	close(done)
	watching.Wait()
	return most - before
}

// S51: what a program holds of copies that it makes by assigning and deleting is bounded, however
// it holds them, and what it throws away is not counted.
func TestS51JQMemory(t *testing.T) {
	const held = "jq: the program holds more memory for this message than it may: 256 MiB"
	list := "[" + strings.Repeat("0,", 68_000) + "1]"
	deep := `{"a":{"b":` + list + `}}`
	for _, c := range []struct{ program, payload, want string }{
		{`. as $m | [.[] | $m | .[0] = 1] | length`, list, held},
		{`. as $m | [.[] | $m | del(.[0])] | length`, list, held},
		{`. as $m | [.[] | $m | setpath([0]; 1)] | length`, list, held},
		{`. as $m | [.a.b[] | $m | .a.b[0] = 1] | length`, deep, held},
		{`. as $m | reduce .[] as $x ({}; .["\(length)"] = ($m | .[0] = 1)) | length`, list, held},
		{`def f($n): (.[0] = 1) as $x | if $n > 0 then f($n - 1) else 0 end, $x[0]; [f(3000)] | length`, list, held},

		{`. as $m | reduce range(1500) as $x (.; .[0] = $x) | length`, list, ""},
		{`. as $m | [range(3000) as $n | $m[$n:], $m] as $parts | [range(150) | $m | .[0] = 1] | length`, list, ""},
	} {
		s, err := build(t, fmt.Sprintf("jq: {program: %q, max_steps: 10000000}", c.program)) // time for the race detector
		if err != nil {
			t.Fatal(err)
		}
		var refused string
		n := mostOfHeap(func() {
			o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, bridge.Batch{{Payload: []byte(c.payload)}}, true)
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Refused) > 0 {
				refused = o.Refused[0].Err.Error()
			}
		})
		if refused != c.want {
			t.Errorf("%s: got %q, want %q", c.program, refused, c.want)
		}
		if n > 768*mib {
			t.Errorf("%s: the heap grew by %d MiB", c.program, n>>20)
		}
	}
}

// S51: to look at what a program holds takes no stack, however deep that is nested: more of it than
// this ends the process.
func TestS51JQMemoryOfDeepValues(t *testing.T) {
	s, err := build(t, `jq: {program: ". as $p | (null | setpath($p; 1)) as $deep | [range(600000) | {a: .}] | length", `+
		`max_steps: 10000000}`)
	if err != nil {
		t.Fatal(err)
	}
	path := "[" + strings.Repeat(`"a",`, 950_000) + `"a"]`
	if _, err := new(bridge.StepRunner).Process(t.Context(), s, 1, bridge.Batch{{Payload: []byte(path)}}, true); err != nil {
		t.Error(err)
	}
}
