package pipetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// outcome is what came of a test.
type outcome struct {
	sinks   []string // places, in the order of the file
	written map[string][]delivered
	letters []letter
	left    []string // what steps have left out, a line each
	ledger  engine.Ledger
	waiting int    // messages that were not read
	failed  error  // why the pipeline has stopped
	broken  error  // why nothing can be said of the rest
	log     string // warnings
}

func (w *world) outcome(p *engine.Pipeline) *outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := &outcome{
		sinks: sinksOf(p).all, written: maps.Clone(w.written), letters: slices.Clip(w.letters),
		left: slices.Clip(w.left), ledger: p.Ledger(),
	}
	for _, f := range w.feeds {
		f.mu.Lock()
		at.waiting += len(f.waiting)
		f.mu.Unlock()
	}
	return at
}

// mostLog is how many lines of the log are shown.
const mostLog = 10

// held returns how many messages nothing has come of yet.
func (o *outcome) held() uint64 { return o.ledger.InFlight + uint64(o.waiting) }

// compare returns what is not as expected. at makes an error at a key of what is expected.
func (o *outcome) compare(t *test, at func(key, message string) string) (failures []string) {
	if o.broken != nil {
		return []string{o.broken.Error()}
	}
	want := &t.Expect
	fail := func(key, message string) { failures = append(failures, at(key, message)) }
	for _, place := range o.sinks {
		got, expected := o.written[place], want.Sinks[place]
		switch {
		case expected != nil:
			if message := expected.compare(got); message != "" {
				fail("sinks."+t.names[place], fmt.Sprintf("sink %s: %s", t.names[place], message))
			}
		case len(want.Sinks) > 0 && len(got) > 0:
			fail("sinks", fmt.Sprintf("sink %s: it is not named, and got %s:\n%s", t.names[place],
				bridge.Plural(len(got), "message"),
				indented(lines(got, func(d delivered) string { return d.line(nil) }))))
		}
	}
	if message := compareLetters(want.DeadLetters, o.letters); message != "" {
		fail("dead_letters", message)
	}
	l := o.ledger
	for _, c := range []struct {
		key, what string
		want      *int
		got       uint64
		strict    bool // it must be expected
	}{
		{"filtered", "filtered", want.Filtered, l.Filtered, false},
		{"merged", "merged", want.Merged, l.Merged, false},
		{"dropped", "refused and dropped", want.Dropped, l.Dropped, want.Refused == nil},
		{"refused", "refused", want.Refused, l.Dropped + l.DeadLettered, false},
		{"held", "yet to be read, let go by a step, or taken by a sink", want.Held, o.held(), o.failed == nil},
	} {
		expected := 0
		if c.want != nil {
			expected = *c.want
		}
		if (c.want != nil || c.strict) && uint64(expected) != c.got {
			message := fmt.Sprintf("%s: %d, want %d", c.what, c.got, expected)
			if c.key == "held" && c.want == nil {
				message += "; let time pass with after, end the input with end: true, or expect it with held"
			}
			fail(c.key, message)
		}
	}
	switch {
	case want.Fails == nil && o.failed != nil:
		fail("fails", "the pipeline has stopped: "+o.failed.Error())
	case want.Fails != nil && o.failed == nil:
		fail("fails", "the pipeline has not stopped, and is to stop because of "+strconv.Quote(*want.Fails))
	case want.Fails != nil && !strings.Contains(o.failed.Error(), *want.Fails):
		fail("fails", fmt.Sprintf("the pipeline has stopped because of something else than %q: %v", *want.Fails, o.failed))
	}
	if left := o.leftOut(); len(failures) > 0 && left != "" {
		failures = append(failures, left)
	}
	if len(failures) > 0 && o.log != "" {
		said := strings.SplitAfter(strings.TrimSuffix(o.log, "\n"), "\n")
		if len(said) > mostLog {
			said = slices.Concat(said[:mostLog], []string{fmt.Sprintf("… and %d more\n", len(said)-mostLog)})
		}
		failures = append(failures, "the log says:\n"+indented(said))
	}
	return failures
}

// compare returns what is wrong with what a sink got, empty if nothing is.
func (a *arrivals) compare(got []delivered) string {
	if a.Count != nil && *a.Count != len(got) {
		return fmt.Sprintf("got %s, want %d", bridge.Plural(len(got), "message"), *a.Count)
	}
	if a.Messages == nil {
		return ""
	}
	text := differ(a.Messages, got, a.AnyOrder, (*arrival).matches, (*arrival).line, delivered.line)
	if text == "" {
		return ""
	}
	return counted(len(got), len(a.Messages), "message") + ":\n" + text
}

func compareLetters(want []deadLetter, got []letter) string {
	text := differ(want, got, false, (*deadLetter).matches, (*deadLetter).line, letter.line)
	if text == "" {
		return ""
	}
	return counted(len(got), len(want), "dead letter") + ":\n" + text
}

// counted says how many came of what differs from what is wanted.
func counted(got, want int, what string) string {
	if got == want {
		return fmt.Sprintf("got %s, not as wanted", bridge.Plural(got, what))
	}
	return fmt.Sprintf("got %s, want %d", bridge.Plural(got, what), want)
}

// differ returns the difference between what is wanted and what came. What is as wanted is shown as
// it was written.
func differ[W, G any](
	want []W, got []G, anyOrder bool, matches func(*W, *G) bool, wantLine func(*W) string, gotLine func(G, *W) string,
) string {
	partner := make([]int, len(got)) // of each that came, the one that was wanted
	if anyOrder {
		partner = pair(len(want), len(got), func(w, g int) bool { return matches(&want[w], &got[g]) })
	} else {
		for g := range got {
			if partner[g] = -1; g < len(want) && matches(&want[g], &got[g]) {
				partner[g] = g
			}
		}
	}
	if len(want) == len(got) && !slices.Contains(partner, -1) {
		return ""
	}
	var wanted, came []string
	if anyOrder { // only what has no partner is of interest
		for w := range want {
			if !slices.Contains(partner, w) {
				wanted = append(wanted, wantLine(&want[w]))
			}
		}
		for g := range got {
			if partner[g] < 0 {
				came = append(came, gotLine(got[g], nil))
			}
		}
	} else {
		for w := range want {
			wanted = append(wanted, wantLine(&want[w]))
		}
		for g := range got {
			// It is shown like the first one that it is as wanted, or as the one in its place.
			like := slices.IndexFunc(want, func(w W) bool { return matches(&w, &got[g]) })
			switch {
			case like >= 0:
				came = append(came, wanted[like])
			case g < len(want):
				came = append(came, gotLine(got[g], &want[g]))
			default:
				came = append(came, gotLine(got[g], nil))
			}
		}
	}
	text := diff.Diff("want", joined(wanted), "got", joined(came))
	_, text, _ = bytes.Cut(text, []byte("\n")) // names both again
	return indented(strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n"))
}

// pair finds partners for as many as there are: of each of got the one of want, or -1.
func pair(want, got int, matches func(w, g int) bool) []int {
	partner := slices.Repeat([]int{-1}, got)
	var tried []bool
	var find func(w int) bool
	find = func(w int) bool {
		for g := range got {
			if tried[g] || !matches(w, g) {
				continue
			}
			tried[g] = true
			if partner[g] < 0 || find(partner[g]) {
				partner[g] = w
				return true
			}
		}
		return false
	}
	for w := range want {
		tried = make([]bool, got)
		find(w)
	}
	return partner
}

func (a *arrival) matches(d *delivered) bool {
	for key, want := range a.Settings {
		if got, given := d.settings[key]; !given || got != want {
			return false
		}
	}
	return a.content.matches(d.Topic, d.Payload, d.Header)
}

func (d *deadLetter) matches(l *letter) bool {
	return (d.Reason == nil || strings.Contains(l.Reason, *d.Reason)) && (d.At == nil || l.at == *d.At) &&
		d.content.matches(l.Topic, l.Payload, l.Header)
}

func (c *content) matches(topic string, payload []byte, header map[string]string) bool {
	want, given, _ := c.payload() // it is right, by Validate
	switch {
	case c.Topic != nil && *c.Topic != topic, c.Header != nil && !maps.Equal(c.Header, header):
		return false
	case c.JSON != nil:
		a, whole := canonical(want)
		b, same := canonical(payload)
		return whole && same && a == b
	}
	return !given || bytes.Equal(want, payload)
}

// canonical returns JSON with its keys in order and no spaces; false if it is none.
func canonical(text []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if !json.Valid(text) || d.Decode(&value) != nil {
		return "", false
	}
	var sorted bytes.Buffer
	e := json.NewEncoder(&sorted)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return strings.TrimSuffix(sorted.String(), "\n"), err == nil
}

func lines[T any](all []T, line func(T) string) (texts []string) {
	for _, one := range all {
		texts = append(texts, line(one)+"\n")
	}
	return texts
}

// joined returns lines that end in a line feed each.
func joined(lines []string) []byte {
	return []byte(strings.Join(append(lines, ""), "\n"))
}

func indented(lines []string) string {
	return "    " + strings.TrimSuffix(strings.Join(lines, "    "), "\n")
}
