package main

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

const (
	topEvery  = time.Second // between an answer of the bridge and the next question
	topPoints = 120         // of a sparkline
)

// top is what the screen shows. Update folds what happens into a copy of it, and draw writes it;
// neither waits for anything.
type top struct {
	ask tea.Cmd                             // asks the bridge for its status: polled
	do  func(verb, pipeline string) tea.Cmd // asks it to do something: acted

	status   monitor.Status // the latest
	answered time.Time      // when it came; zero if none has
	lost     error          // why there is none now
	now      time.Time      // of the latest answer, or its absence
	traces   map[string]trace

	width, height int
	first         int // line of the body that is on the screen

	selected string // a pipeline
	at       int    // its row
	open     bool   // it alone is shown
	order    int    // of topOrders
	filter   string
	typing   bool   // the filter
	sure     string // what will be done to the selected pipeline once its user is sure
	said     string // by the bridge, to what was done
}

// trace is how fast messages of a pipeline have moved, per second, oldest first. Where nobody knows
// it is not a number.
type trace struct {
	read, delivered uint64 // at the last point
	in, out         []float64
}

// What happens besides keys.
type (
	polled struct {
		status monitor.Status
		err    error
		at     time.Time
	}
	pollAgain struct{}
	acted     struct {
		text string
		err  error
	}
)

// topOrders are the orders of the list. Equals stand as in the files.
var topOrders = []struct {
	name    string
	compare func(a, b monitor.Pipeline) int
}{
	{"state", func(a, b monitor.Pipeline) int { return cmp.Compare(signOf(a.State).rank, signOf(b.State).rank) }},
	{"name", func(a, b monitor.Pipeline) int { return cmp.Compare(a.Name, b.Name) }},
	{"out", func(a, b monitor.Pipeline) int { return cmp.Compare(b.Out.Messages, a.Out.Messages) }},
	{"owed", func(a, b monitor.Pipeline) int { return cmp.Compare(b.Owed, a.Owed) }},
	{"dropped", func(a, b monitor.Pipeline) int { return cmp.Compare(b.Ledger.Dropped, a.Ledger.Dropped) }},
}

func (t top) Init() tea.Cmd { return t.ask }

func (t top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case polled:
		t = t.fold(msg)
		cmd = tea.Tick(topEvery, func(time.Time) tea.Msg { return pollAgain{} })
	case pollAgain:
		cmd = t.ask
	case acted:
		if t.said = oneLine(msg.text); msg.err != nil {
			t.said = "✖ " + oneLine(msg.err.Error())
		}
	case tea.PasteMsg:
		if t.typing {
			t.filter += oneLine(msg.Content)
		}
	case tea.KeyPressMsg:
		t, cmd = t.key(msg)
	}
	return t.settled(), cmd
}

// fold takes an answer of the bridge, or the lack of one.
func (t top) fold(p polled) top {
	t.now, t.lost = p.at, p.err
	before := t.traces
	t.traces = make(map[string]trace, len(before))
	if p.err != nil {
		for name, old := range before {
			t.traces[name] = old.next(old.read, old.delivered, 0)
		}
		return t
	}
	harmlessText(reflect.ValueOf(&p.status))
	seconds := p.status.Now.Sub(t.status.Now).Seconds()
	if !p.status.Started.Equal(t.status.Started) {
		seconds = 0 // another process, which counts from 0
	}
	for _, pipeline := range p.status.Pipelines {
		elapsed := seconds
		old, known := before[pipeline.Name]
		if !known {
			elapsed = 0
		}
		read := pipeline.Ledger.Received + pipeline.Returned.Received
		t.traces[pipeline.Name] = old.next(read, pipeline.Ledger.Delivered, elapsed)
	}
	t.status, t.answered = p.status, p.at
	return t
}

// next returns the trace with a point for what has moved since the last one, in so many seconds.
func (tr trace) next(read, delivered uint64, seconds float64) trace {
	point := func(points []float64, before, now uint64) []float64 {
		rate := math.NaN()
		if seconds > 0 && now >= before {
			rate = float64(now-before) / seconds
		}
		points = append(slices.Clone(points), rate)
		return points[max(0, len(points)-topPoints):]
	}
	return trace{read, delivered, point(tr.in, tr.read, read), point(tr.out, tr.delivered, delivered)}
}

// harmlessText makes all text in v such as a terminal can show on one line.
func harmlessText(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			harmlessText(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			harmlessText(field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			harmlessText(v.Index(i))
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(oneLine(v.String()))
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(visible(text)), " ") }

// rows returns the pipelines of the list.
func (t top) rows() []monitor.Pipeline {
	wanted := strings.ToLower(t.filter)
	var rows []monitor.Pipeline
	for _, p := range t.status.Pipelines {
		if strings.Contains(strings.ToLower(p.Name), wanted) || strings.Contains(string(p.State), wanted) {
			rows = append(rows, p)
		}
	}
	slices.SortStableFunc(rows, topOrders[t.order].compare)
	return rows
}

// pipeline returns the one that is selected, if there is one.
func (t top) pipeline() (monitor.Pipeline, bool) {
	at := slices.IndexFunc(t.status.Pipelines, func(p monitor.Pipeline) bool { return p.Name == t.selected })
	if at < 0 {
		return monitor.Pipeline{}, false
	}
	return t.status.Pipelines[at], true
}

// settled keeps the selection on a pipeline that there is, and on the screen.
func (t top) settled() top {
	if _, exists := t.pipeline(); t.open && !exists {
		t.said, t.open, t.first = fmt.Sprintf("pipeline %s is no longer there", t.selected), false, 0
	}
	_, lines, from, to := t.body()
	if !t.open {
		rows := t.rows()
		if at := slices.IndexFunc(rows, func(p monitor.Pipeline) bool { return p.Name == t.selected }); at >= 0 {
			t.at = at
		} else if len(rows) > 0 {
			t.at = min(t.at, len(rows)-1)
			t.selected = rows[t.at].Name
			_, lines, from, to = t.body()
		} else {
			t.selected = ""
		}
		t.first = min(max(t.first, to-t.room()), from)
	}
	t.first = max(0, min(t.first, len(lines)-t.room()))
	return t
}

// key does what a key says.
func (t top) key(k tea.KeyPressMsg) (top, tea.Cmd) {
	name := k.String()
	if name == "ctrl+l" { // somebody else has written on the screen
		return t, tea.ClearScreen
	}
	t.said = ""
	switch {
	case name == "ctrl+c":
		return t, tea.Quit
	case name == "ctrl+z":
		return t, tea.Suspend
	case t.sure != "":
		verb := t.sure
		if t.sure = ""; name != "y" {
			return t, nil
		}
		return t.steer(verb)
	case t.typing:
		return t.typed(name, k.Text), nil
	}
	switch name {
	case "q":
		return t, tea.Quit
	case "esc", "backspace", "left", "h":
		if !t.open && name == "esc" {
			t.filter = ""
		}
		t.open = false
	case "enter", "right", "l":
		if !t.open && t.selected != "" {
			t.open, t.first = true, 0
		}
	case "/":
		t.typing, t.open = true, false
	case "s":
		t.order = (t.order + 1) % len(topOrders)
	case "p", "r":
		return t.wish(name)
	default:
		t = t.moved(name)
	}
	return t, nil
}

// typed is a key while the filter is written.
func (t top) typed(name, text string) top {
	switch name {
	case "esc":
		t.filter, t.typing = "", false
	case "enter":
		t.typing = false
	case "backspace":
		if r := []rune(t.filter); len(r) > 0 {
			t.filter = string(r[:len(r)-1])
		}
	default:
		if text == "" {
			return t.moved(name)
		}
		t.filter += visible(text)
	}
	return t
}

// wish pauses or resumes the selected pipeline, or asks whether it is to be.
func (t top) wish(name string) (top, tea.Cmd) {
	p, exists := t.pipeline()
	switch {
	case !exists:
	case name == "r" && p.State == monitor.Paused:
		return t.steer("resume")
	case name == "r":
		t.sure = "restart"
	case p.State != monitor.Paused:
		t.sure = "pause"
	}
	return t, nil
}

func (t top) steer(verb string) (top, tea.Cmd) {
	t.said = verb + " " + t.selected + ": asked"
	return t, t.do(verb, t.selected)
}

// moved selects another pipeline, or scrolls the one that is open.
func (t top) moved(name string) top {
	steps := map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -t.room(), "pgdown": t.room(), "space": t.room(),
		"home": -math.MaxInt32, "g": -math.MaxInt32, "end": math.MaxInt32, "G": math.MaxInt32,
	}
	if t.open {
		t.first += steps[name]
	} else if rows := t.rows(); len(rows) > 0 {
		t.at = max(0, min(t.at+steps[name], len(rows)-1))
		t.selected = rows[t.at].Name
	}
	return t
}
