package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

const (
	tapBeat    = 15 * time.Second // a line comes that often, so that one who has gone is noticed
	tapPatient = 30 * time.Second // for how long a client may take nothing

	// DefaultSample is how many messages each place shows.
	DefaultSample = "100/s"
)

// TapLine is a line of what GET /tap answers: a message, or nothing but counts.
type TapLine struct {
	*monitor.Tapped
	*monitor.Lost        // since the beginning, if that has changed
	End           string `json:"end,omitempty"` // why no more comes, though more were wanted
}

// tap answers GET /tap with messages as they pass, see [TapLine]:
//
//	pipeline  its name
//	place     from, step-2, to, …, or sources, steps or sinks; not given: everywhere
//	when      a condition, which holds for those that are shown
//	n         after so many it is over; not given or 0: when the client goes
//	sample    how many each place shows at most, like 10/s, 1/m or all; default 100/s
//	bytes     how much of each is shown, default 65536
func tap(m *monitor.Monitor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		pipeline, n, o, err := tapQuery(r.URL.RawQuery)
		if err != nil {
			Fail(w, http.StatusBadRequest, err)
			return
		}
		t, err := m.Tap(pipeline, o)
		switch {
		case errors.Is(err, monitor.ErrTooManyTaps):
			Fail(w, http.StatusServiceUnavailable, err)
			return
		case err != nil:
			Fail(w, http.StatusBadRequest, err)
			return
		}
		defer t.Close()
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Time{}) // nothing more is read but that the client has gone
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		if c.Flush() == nil {
			sendTapped(r.Context(), w, c, t, n)
		}
	}
}

// sendTapped writes n messages; all that come, if that is 0.
func sendTapped(ctx context.Context, w http.ResponseWriter, c *http.ResponseController, t *monitor.Tap, n int) {
	var told monitor.Lost
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for sent := 0; n == 0 || sent < n; {
		waits, cancel := context.WithTimeout(ctx, tapBeat)
		one, err := t.Next(waits)
		cancel()
		line := TapLine{Tapped: one}
		if lost := t.Lost(); lost != told {
			told, line.Lost = lost, &lost
		}
		switch {
		case err == nil:
			sent++
		case ctx.Err() != nil:
			line.End = "the bridge stops"
		case !errors.Is(err, context.DeadlineExceeded):
			line.End = err.Error()
		}
		_ = c.SetWriteDeadline(time.Now().Add(tapPatient))
		if lines.Encode(line) != nil || !t.Waiting() && c.Flush() != nil || line.End != "" {
			return
		}
	}
}

// tapQuery reads what is asked for.
func tapQuery(raw string) (pipeline string, n int, o monitor.TapOptions, err error) {
	fail := func(format string, args ...any) (string, int, monitor.TapOptions, error) {
		return "", 0, o, fmt.Errorf(format, args...)
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fail("read the query: %w", err)
	}
	sample := DefaultSample
	for _, key := range slices.Sorted(maps.Keys(query)) {
		value := query.Get(key)
		switch key {
		case "pipeline":
			pipeline = value
		case "place":
			o.Place = value
		case "when":
			if o.When, err = tapCondition(value); err != nil {
				return fail("when: %w", err)
			}
		case "n":
			if n, err = strconv.Atoi(value); err != nil || n < 0 {
				return fail("n: %q is no number of messages", value)
			}
		case "sample":
			sample = value
		case "bytes":
			if o.Bytes, err = strconv.Atoi(value); err != nil || o.Bytes < 1 || o.Bytes > monitor.MostTapBytes {
				return fail("bytes: %q is no number from 1 to %d", value, monitor.MostTapBytes)
			}
		default:
			return fail("there is no %q to ask for: write pipeline, place, when, n, sample or bytes", key)
		}
	}
	if o.Most, o.Per, err = parseSample(sample); err != nil {
		return fail("sample: %w", err)
	}
	if pipeline == "" {
		return fail("pipeline is missing: say whose messages are to be shown")
	}
	return pipeline, n, o, nil
}

// tapCondition compiles a condition, for which the environment of the bridge, where secrets are, is
// empty.
func tapCondition(text string) (bridge.Condition, error) {
	empty := &expr.World{Getenv: func(string) (string, bool) { return "", false }}
	return expr.Part{Text: text, Code: true, World: empty}.Condition()
}

// parseSample reads how many messages are shown in which time; 0 means all.
func parseSample(text string) (most int, per time.Duration, err error) {
	if text == "all" {
		return 0, 0, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	most, err = strconv.Atoi(number)
	per = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || most < 1 || per == 0 {
		return 0, 0, fmt.Errorf("%q is no rate: write 10/s, 1/m, 1/h or all", text)
	}
	return most, per, nil
}
