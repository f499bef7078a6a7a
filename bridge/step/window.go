package step

import (
	"context"
	_ "embed"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed window.yaml
var windowExample string

// Window returns the connector window, a step that makes one message of those of a time, for each
// key: how many there were, and figures of what is in them.
//
// # Settings
//
// every is the length of windows that stand side by side, aligned to the clock in UTC; in place of
// the mapping, `window: 1m` sets it. With size, a multiple of every, they are that long and
// overlap. In place of both, session begins a window with a message and ends it when none has come
// for so long, or after max_session. Each key has windows of its own.
//
// functions are what is made of value, or of each of values: sum, min, max, mean, median, p95,
// first, last, delta (last less first), list. All but first, last and list want numbers. median of
// an even number is between the two in the middle; p95 is the smallest value that 95 % do not
// exceed. min, max, first, last and list keep the digits of numbers; the others are floating point.
//
// A message belongs to the time at which it came, or to time: seconds since 1970, or a text like
// 2026-11-28T08:00:00Z. Then a window ends when a message is newer than its end by lateness, or
// when none has come for idle. A message is late if all its windows have ended by what newer ones
// say: late says that there is another window of its time (again), or that it is dropped or
// refused. One that is ahead of the clock by more than max_ahead is refused.
//
// The message has the topic of the last one in the window, the time of its end, no headers, and a
// payload like {"key":"kitchen","start":"…","end":"…","count":12,"mean":21.5}, or, with values,
// with a mapping of each. "partial":true says that the end had not come, at a stop, say, and
// "late":true that there was a window of that time before.
//
// # Guarantees
//
// Each message is in a window, or dropped or refused as configured. What is in an open window is
// owed: its source hears of delivery when the window is delivered, a stop lets all go, partial, and
// after kill -9 they come again. A source learns of the oldest messages first, so that some of a
// window that was delivered may come again then, and are in another one. The ledger counts messages
// as merged, and windows as made. A clock that is set back by more than a window ends those that
// are open; by less, and it waits.
//
// # Errors
//
// A message is refused of which the key, the time or a value cannot be made, and one that would
// take more than max_keys or max_bytes. The reason shows nothing of it.
func Window() bridge.Connector {
	return bridge.Connector{
		Name:     "window",
		Summary:  "makes one message of those of a time, for each key: count, sum, min, max, mean, median, p95, …",
		Delivery: "what is in an open window comes again after kill -9, and goes at a stop",
		Example:  windowExample,
		Step: bridge.NewOpener(windowSettings{
			MaxSession: time.Hour, Lateness: 10 * time.Second, Late: "again", Idle: 5 * time.Minute, MaxAhead: time.Hour,
			MaxKeys: defaultKeys, MaxBytes: defaultHolding.MaxBytes,
		}, openWindow),
	}
}

type windowSettings struct {
	Every      time.Duration `yaml:"every,short" doc:"from the start of a window to that of the next, aligned to the clock in UTC"`
	Size       time.Duration `yaml:"size" doc:"of windows that overlap, a multiple of every; empty: every"`
	Session    time.Duration `yaml:"session" doc:"in place of every: a window ends when no message has come for so long"`
	MaxSession time.Duration `yaml:"max_session" doc:"the longest session"`

	Key       bridge.Template `yaml:"key" doc:"each key has windows of its own; empty: all messages are together"`
	Value     bridge.Value    `yaml:"value" doc:"what functions are of"`
	Values    bridge.Fields   `yaml:"values" doc:"in place of value: several, by name"`
	Functions []string        `yaml:"functions" enum:"count|sum|min|max|mean|median|p95|first|last|delta|list" doc:"what is made of each value; count is always there"`

	Time     bridge.Value  `yaml:"time" doc:"to which a message belongs, seconds since 1970 or like 2026-11-28T08:00:00Z; empty: when it came"`
	Lateness time.Duration `yaml:"lateness" doc:"with time: how much newer messages must be to end a window"`
	Late     string        `yaml:"late" enum:"again|drop|refuse" doc:"with time: what becomes of a message whose windows have ended: another window, or it is dropped or refused"`
	Idle     time.Duration `yaml:"idle" doc:"with time: windows end when no message has come for so long; 0: they wait for the next one"`
	MaxAhead time.Duration `yaml:"max_ahead" doc:"with time: a message further ahead of the clock is refused"`

	MaxKeys  int         `yaml:"max_keys" min:"1" max:"10000000" doc:"most keys with an open window; a message of one more is refused"`
	MaxBytes bridge.Size `yaml:"max_bytes" doc:"most bytes of open windows, about; a message that would take more is refused"`
}

// ownNames are those that the payload of a window has anyway.
var ownNames = []string{"key", "start", "end", "count", "partial", "late"}

// mostPanes bounds by how many windows a message may be counted.
const mostPanes = 10_000

// Validate checks what the settings are to each other.
func (s windowSettings) Validate() error {
	switch {
	case s.Every == 0 && s.Session == 0:
		return bridge.KeyErrorf("every", "is missing, and so is session: write one of them")
	case s.Every > 0 && s.Session > 0:
		return bridge.KeyErrorf("session", "cannot stand beside every: write one of them")
	case s.Session > 0 && s.Size > 0:
		return bridge.KeyErrorf("size", "cannot stand beside session, which has no size")
	case s.Size > 0 && (s.Size%s.Every != 0 || s.Size/s.Every > mostPanes):
		return bridge.KeyErrorf("size", "must be every, or a multiple of it up to %d times", mostPanes)
	case s.Session > 0 && s.MaxSession < s.Session:
		return bridge.KeyErrorf("max_session", "must not be below session")
	case s.Value != nil && len(s.Values) > 0:
		return bridge.KeyErrorf("values", "cannot stand beside value: write one of them")
	case len(s.functions()) > 0 && s.Value == nil && len(s.Values) == 0:
		return bridge.KeyErrorf("functions", "want a value, or values, that they are of")
	case len(s.functions()) == 0 && (s.Value != nil || len(s.Values) > 0):
		return bridge.KeyErrorf("functions", "are missing: what is to be made of the value? "+
			"sum, min, max, mean, median, p95, first, last, delta or list")
	}
	for key, d := range map[string]time.Duration{
		"every": s.Every, "size": s.Size, "session": s.Session, "max_session": s.MaxSession,
		"lateness": s.Lateness, "max_ahead": s.MaxAhead,
	} {
		if d > mostWait {
			return bridge.KeyErrorf(key, "is too long: 10 years at most")
		}
	}
	for _, f := range s.Values {
		if slices.Contains(ownNames, f.Name) {
			return bridge.KeyErrorf("values."+f.Name, "cannot have that name, which a window has for its own")
		}
	}
	return holding{MaxBytes: s.MaxBytes}.validate()
}

// functions returns those beside count, each once.
func (s windowSettings) functions() (all []string) {
	for _, f := range s.Functions {
		if f != "count" && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// Describe says what becomes of what it holds.
func (windowSettings) Describe() bridge.Description { return bridge.Description{Holds: true} }

func openWindow(_ context.Context, s *windowSettings, env bridge.Env) (bridge.Step, error) {
	w := &window{
		windowSettings: s, figures: newFigures(s), now: env.Clock.Now, series: make(map[string]*series),
		every: int64(s.Every), size: int64(max(s.Every, s.Size)), gap: int64(s.Session),
		closed: longAgo, newest: longAgo,
	}
	return w, nil
}
