package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// How much GET /dead answers, and POST /dead/replay takes.
const (
	mostLettersShown = 1000
	mostLetterBytes  = 16 << 20 // and the letter that reaches it
)

// letters answers GET /dead?pipeline=NAME&reason=TEXT with its dead letters, one line of JSON each, the
// oldest first. Where there are more than it answers, the last line is a text that says so.
func (r *running) letters(w http.ResponseWriter, q *http.Request) {
	query, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		admin.Fail(w, http.StatusBadRequest, fmt.Errorf("read the query: %w", err))
		return
	}
	pipeline, only := query.Get("pipeline"), store.Choice{Reason: query.Get("reason")}
	if pipeline == "" {
		admin.Fail(w, http.StatusBadRequest, errors.New("pipeline is missing: say whose dead letters are to be shown"))
		return
	}
	var text bytes.Buffer // as a whole, so that what goes wrong is an error
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	n := 0
	var failed error
	err = r.state.Letters(q.Context(), pipeline, func(l store.Letter) bool {
		if !only.Has(&l) {
			return q.Context().Err() == nil
		}
		if n == mostLettersShown || text.Len() > mostLetterBytes {
			failed = lines.Encode(fmt.Sprintf("there are more than these %d: xrtcbridge dead list %s shows all", n, pipeline))
			return false
		}
		n++
		failed = lines.Encode(l)
		return failed == nil && q.Context().Err() == nil
	})
	if err = errors.Join(err, failed); err != nil {
		admin.Fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = w.Write(text.Bytes()) // who asked has gone
}

// replayed answers POST /dead/replay, which delivers dead letters again as dead replay does, with what
// that says. It ends when who asks has gone, and is one at a time.
func (r *running) replayed(w http.ResponseWriter, q *http.Request) {
	var asked struct {
		Pipeline string   `json:"pipeline"`
		Numbers  []uint64 `json:"numbers"`
	}
	d := json.NewDecoder(q.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&asked)
	if err == nil && d.More() {
		err = errors.New("there is more behind it")
	}
	switch {
	case errors.As(err, new(*http.MaxBytesError)) || len(asked.Numbers) > mostLettersShown:
		admin.Fail(w, http.StatusRequestEntityTooLarge,
			fmt.Errorf("name %d dead letters at a time: xrtcbridge dead replay delivers all", mostLettersShown))
		return
	case err != nil || asked.Pipeline == "" || len(asked.Numbers) == 0:
		admin.Fail(w, http.StatusBadRequest, errors.Join(errors.New(`write {"pipeline": "NAME", "numbers": [1, 2]}`), err))
		return
	}
	if !r.replays.TryLock() {
		admin.Fail(w, http.StatusConflict, errors.New("dead letters are being replayed: ask again when that is done"))
		return
	}
	defer r.replays.Unlock()
	select {
	case r.turn <- struct{}{}:
	case <-q.Context().Done():
		return
	}
	p, files := r.plan[asked.Pipeline], r.files
	<-r.turn // a reload does not wait for a sink that is down
	if p == nil {
		admin.Fail(w, http.StatusBadRequest,
			fmt.Errorf("no pipeline %q runs: name it in a file, which says where its messages go",
				asked.Pipeline))
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // else it would seem gone
	slices.Sort(asked.Numbers)
	var said bytes.Buffer
	err = (&replaying{
		Pipeline: p.Again(), std: std{err: &said, in: strings.NewReader(""), data: r.bridge.Stdout}, log: r.log,
		state: r.state, flags: &stateFlags{files: files}, Choice: store.Choice{Numbers: slices.Compact(asked.Numbers)},
	}).run(q.Context())
	if err != nil {
		text := strings.TrimSpace(said.String() + err.Error())
		if f := (failure{}); errors.As(err, &f) && f.hint != "" {
			text += "\n" + f.hint
		}
		admin.Fail(w, http.StatusConflict, errors.New(text))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(said.Bytes())
}
