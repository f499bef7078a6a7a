package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// TestDeadLettersOfARunningBridge has them shown and replayed as the page does, before and after a
// reload that mends their pipeline.
func TestDeadLettersOfARunningBridge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := write(t, dir, "in.txt", "../a\n../b\nc\n../d\n"), filepath.Join(dir, "out.txt")
	file := func(to string) {
		t.Helper()
		write(t, dir, "p.yaml", fmt.Sprintf(`
state: {dir: %q}
pipelines:
  p: {from: {file: {path: %q, follow: true}}, to: {file: {path: %q}}, on_error: {then: dead_letter}}
`, filepath.Join(dir, "state"), in, to))
	}
	file(filepath.Join(dir, "out", "{{ payload }}.txt"))
	p := start(t, dir, nil, "run", "p.yaml", "--log-format", "json")
	p.opened(2)
	c, err := admin.Dial(t.Context(), admin.InState(owned.Place{Path: filepath.Join(dir, "state")}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	letters := func(query string) (numbers []uint64, payloads []string) {
		t.Helper()
		r, err := c.Do(t.Context(), http.MethodGet, "/dead?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		for d := json.NewDecoder(r.Body); ; {
			var l store.Letter
			if err := d.Decode(&l); err == io.EOF {
				return numbers, payloads
			} else if err != nil {
				t.Fatal(err)
			}
			numbers, payloads = append(numbers, l.Number), append(payloads, string(l.Payload))
		}
	}
	bridgetest.Eventually(t, "there are letters", func() bool {
		numbers, _ := letters("pipeline=p")
		return len(numbers) == 3
	})
	if _, got := letters("pipeline=p&reason=B.TXT"); !cmp.Equal(got, []string{"../b"}) {
		t.Errorf("those with a reason: %q", got)
	}
	replay := func(body any) (text string, err error) {
		r, err := c.Do(t.Context(), http.MethodPost, "/dead/replay", body)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		answer, err := io.ReadAll(r.Body)
		return string(answer), err
	}
	type asked struct {
		Pipeline string   `json:"pipeline"`
		Numbers  []uint64 `json:"numbers"`
	}
	numbers, _ := letters("pipeline=p")
	for _, bad := range []struct {
		body any
		want string
	}{
		{asked{"p", nil}, `write {"pipeline"`},
		{asked{"", numbers}, `write {"pipeline"`},
		{map[string]any{"pipeline": "p", "all": true}, "unknown field"},
		{asked{"q", numbers}, `no pipeline "q" runs`},
		{asked{"p", []uint64{99}}, `has 0 of 1 dead letter`},
		{asked{"p", numbers}, "could not be delivered again, and kept: 3 dead letters by new numbers"},
	} {
		if text, err := replay(bad.body); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %q, %v, want %s", bad.body, text, err, bad.want)
		}
	}
	if r, err := c.Do(t.Context(), http.MethodGet, "/dead/replay?pipeline=p", nil); err == nil {
		r.Body.Close()
		t.Error("GET replays")
	}
	numbers, got := letters("pipeline=p")
	if want := []string{"../a", "../b", "../d"}; !cmp.Equal(want, got) {
		t.Fatalf("after a replay in vain: %q", got)
	}
	file(out)
	if code, _, errs := command(t, dir, "reload", "p.yaml"); code != exitDone {
		t.Fatalf("%d, %s", code, errs)
	}
	if text, err := replay(asked{"p", []uint64{numbers[2], numbers[0]}}); err != nil ||
		text != "delivered 2 dead letters, 0 failed again\n" {
		t.Errorf("%q, %v", text, err)
	}
	if _, got := letters("pipeline=p"); !cmp.Equal(got, []string{"../b"}) {
		t.Errorf("left: %q", got)
	}
	if d := cmp.Diff([]string{"../a", "../d"}, readLines(t, out)); d != "" {
		t.Error(d)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}
