package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// deadStore returns a state with letters of pipelines whose names say how many there are, and of
// how many bytes.
func deadStore(t *testing.T, pipelines map[string][2]int) *store.Store {
	t.Helper()
	state := store.New(store.Settings{Dir: t.TempDir(), Durability: "process"},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, c := range pipelines {
		sink, err := state.DeadLetters(name).Open(t.Context(), bridgetest.Env(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var all bridge.Batch
		for range c[0] {
			letter := bridge.DeadLetter{
				Reason: "no", Pipeline: name, Place: "sink", Instance: name + "-to", Payload: bytes.Repeat([]byte("x"), c[1]),
			}
			text, err := letter.Encode()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, bridge.Message{Payload: text})
		}
		for len(all) > 0 {
			result, err := sink.Write(t.Context(), all)
			if err != nil || result.Refused != nil {
				t.Fatal(result, err)
			}
			all = all[result.Settled:]
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

// GET /dead answers 1000 letters, or those that make 16 MiB, and says if there are more; what is
// asked for wrongly is a mistake of who asks.
func TestDeadLettersShownAreBounded(t *testing.T) {
	const mib = 1 << 20
	r := &running{state: deadStore(t, map[string][2]int{
		"none": {0, 0}, "most": {mostLettersShown, 10}, "more": {mostLettersShown + 1, 10},
		"full": {16, mib}, "large": {18, mib},
	})}
	for _, c := range []struct {
		query         string
		code, letters int
		last          string // of what is answered, if it is no letter
	}{
		{"pipeline=none", 200, 0, ""},
		{"pipeline=nobody", 200, 0, ""},
		{"pipeline=most", 200, mostLettersShown, ""},
		{"pipeline=more", 200, mostLettersShown, "there are more than these 1000: xrtcbridge dead list more shows all"},
		{"pipeline=more&reason=yes", 200, 0, ""},
		{"pipeline=full", 200, 16, ""},
		{"pipeline=large", 200, 16, "there are more than these 16: xrtcbridge dead list large shows all"},
		{"", 400, 0, "pipeline is missing"},
		{"pipeline=%zz", 400, 0, "read the query"},
	} {
		w := httptest.NewRecorder()
		r.letters(w, httptest.NewRequest(http.MethodGet, "/dead?"+c.query, nil))
		if w.Body.Len() > mostLetterBytes+2*mib {
			t.Errorf("%s: %d bytes", c.query, w.Body.Len())
		}
		lines, last := 0, ""
		for line := range strings.Lines(w.Body.String()) {
			var letter store.Letter
			if json.Unmarshal([]byte(line), &letter) == nil && letter.Number > 0 {
				lines++
			} else {
				last = line
			}
		}
		if w.Code != c.code || lines != c.letters || !strings.Contains(last, c.last) || c.last == "" && last != "" {
			t.Errorf("%s: %d, %d letters, %s, want %+v", c.query, w.Code, lines, last, c)
		}
	}
}

// POST /dead/replay says what is wrong with what it is asked, and delivers nothing then.
func TestReplaysAskedForAreBounded(t *testing.T) {
	r := &running{state: deadStore(t, map[string][2]int{"p": {1, 10}}), turn: make(chan struct{}, 1)}
	h := http.MaxBytesHandler(http.HandlerFunc(r.replayed), 1<<20) // as admin has it
	numbers := func(n int) string {
		return `{"pipeline": "p", "numbers": [1` + strings.Repeat(",1", n-1) + "]}"
	}
	for _, c := range []struct {
		body string
		code int
		want string
	}{
		{"", 400, "write {"},
		{"{", 400, "unexpected EOF"},
		{"[]", 400, "cannot unmarshal array"},
		{`{"pipeline": "p", "numbers": []}`, 400, "write {"},
		{`{"numbers": [1]}`, 400, "write {"},
		{`{"pipeline": "p", "numbers": [-1]}`, 400, "cannot unmarshal number -1"},
		{`{"pipeline": "p", "numbers": [1.5]}`, 400, "cannot unmarshal number 1.5"},
		{`{"pipeline": "p", "numbers": ["1"]}`, 400, "cannot unmarshal string"},
		{`{"pipeline": "p", "numbers": [18446744073709551616]}`, 400, "cannot unmarshal number"},
		{`{"pipeline": "p", "numbers": [1], "all": true}`, 400, "unknown field"},
		{numbers(1) + numbers(1), 400, "there is more behind it"},
		{numbers(mostLettersShown), 400, "no pipeline "}, // which is next
		{numbers(mostLettersShown + 1), 413, "name 1000 dead letters at a time"},
		{numbers(1 << 20), 413, "name 1000 dead letters at a time"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/dead/replay", strings.NewReader(c.body)))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%.60s: %d, %s, want %d, %s", c.body, w.Code, w.Body, c.code, c.want)
		}
	}
	r.replays.Lock()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/dead/replay", strings.NewReader(numbers(1))))
	if r.replays.Unlock(); w.Code != http.StatusConflict {
		t.Errorf("during another one: %d %s", w.Code, w.Body)
	}
	left := 0
	if err := r.state.Letters(t.Context(), "p", func(store.Letter) bool { left++; return true }); left != 1 || err != nil {
		t.Error(fmt.Sprint(left, " letters are left, "), err)
	}
}
