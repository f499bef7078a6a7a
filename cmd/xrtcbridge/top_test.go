package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

var updateGolden = flag.Bool("update", false, "write the golden files of top anew")

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.Local)

// busy is the status of a bridge in which something of everything goes on.
func busy() (s monitor.Status) {
	text, err := os.ReadFile("testdata/top/status.json")
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		panic(err)
	}
	return s
}

// many is a bridge of that many pipelines.
func many(n int) monitor.Status {
	s := monitor.Status{Version: "0.9.0", Ready: true, Started: noon.Add(-time.Hour), Now: noon}
	for i := range n {
		p := monitor.Pipeline{Name: fmt.Sprintf("line-%03d", i), State: monitor.Running, Owed: uint64(i)}
		if i%3 == 1 {
			p.Progress = &monitor.Progress{Done: int64(i), Total: int64(n)} // takes two lines
		}
		s.Pipelines = append(s.Pipelines, p)
	}
	return s
}

func answer(s monitor.Status) polled { return polled{status: s, at: s.Now} }

// moving returns answers of one a second with that many messages delivered between them.
func moving(s monitor.Status, rates ...uint64) (all []tea.Msg) {
	at := s.Now.Add(-time.Duration(len(rates)) * time.Second)
	for i := range len(rates) + 1 {
		next := s
		next.Now = at.Add(time.Duration(i) * time.Second)
		next.Pipelines = slices.Clone(s.Pipelines)
		for j := range next.Pipelines {
			if next.Pipelines[j].Ledger.Delivered == 0 {
				continue
			}
			for k := i; k < len(rates); k++ {
				next.Pipelines[j].Ledger.Delivered -= rates[k]
				next.Pipelines[j].Ledger.Received -= 2 * rates[k]
			}
		}
		all = append(all, answer(next))
	}
	return all
}

var topKeys = map[string]tea.KeyPressMsg{
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown},
	"pgdown": {Code: tea.KeyPgDown}, "end": {Code: tea.KeyEnd}, "home": {Code: tea.KeyHome},
	"backspace": {Code: tea.KeyBackspace},
	"ctrl+c":    {Code: 'c', Mod: tea.ModCtrl}, "ctrl+l": {Code: 'l', Mod: tea.ModCtrl},
}

// press returns keys: names as above, and other words as letters.
func press(words string) (all []tea.Msg) {
	for w := range strings.FieldsSeq(words) {
		if k, named := topKeys[w]; named {
			all = append(all, k)
			continue
		}
		for _, r := range w {
			all = append(all, tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
	return all
}

// folded returns a top of that size to which these things have happened, and what it asked the
// bridge to do.
func folded(width, height int, happened ...[]tea.Msg) (t top, did []string) {
	t = top{do: func(verb, pipeline string) tea.Cmd {
		return func() tea.Msg { return acted{text: verb + " " + pipeline} }
	}}
	var m tea.Model = t
	for _, msg := range slices.Concat(append([][]tea.Msg{{tea.WindowSizeMsg{Width: width, Height: height}}},
		happened...)...) {
		var cmd tea.Cmd
		m, cmd = m.Update(msg)
		if _, key := msg.(tea.KeyPressMsg); key && cmd != nil {
			switch msg := cmd().(type) {
			case acted:
				did = append(did, msg.text)
			default:
				did = append(did, fmt.Sprintf("%T", msg))
			}
		}
	}
	return m.(top), did
}

func screenOf(t top) string { return ansi.Strip(strings.Join(t.draw(), "\n")) }

func TestTopDraws(t *testing.T) {
	traffic := moving(busy(), 0, 10, 20, 40, 80, 60, 70, 30)
	gone := polled{err: errors.New("dial unix: connection refused"), at: noon.Add(12 * time.Second)}
	for name, c := range map[string]struct {
		width, height int
		happened      [][]tea.Msg
	}{
		"first":    {80, 24, nil},
		"nobody":   {80, 8, [][]tea.Msg{{gone}}},
		"list":     {80, 24, [][]tea.Msg{traffic}},
		"wide":     {132, 24, [][]tea.Msg{traffic}},
		"narrow":   {40, 24, [][]tea.Msg{traffic}},
		"phone":    {20, 12, [][]tea.Msg{traffic}},
		"opened":   {80, 30, [][]tea.Msg{traffic, press("/running enter enter")}},
		"slender":  {50, 40, [][]tea.Msg{traffic, press("/running enter enter")}},
		"lost":     {80, 24, [][]tea.Msg{traffic, {gone}}},
		"restart":  {80, 24, [][]tea.Msg{traffic, press("r")}},
		"filtered": {80, 12, [][]tea.Msg{traffic, press("/s"), press("enter s s s")}},
		"scrolled": {80, 24, [][]tea.Msg{{answer(many(200))}, press("s pgdown pgdown pgdown down")}},
		"empty":    {80, 6, [][]tea.Msg{{answer(many(0))}}},
	} {
		t.Run(name, func(t *testing.T) {
			shown, _ := folded(c.width, c.height, c.happened...)
			lines := strings.Split(screenOf(shown), "\n")
			for i, line := range lines {
				if ansi.StringWidth(line) > c.width {
					t.Errorf("line %d is wider than %d: %q", i+1, c.width, line)
				}
				lines[i] = strings.TrimRight(line, " ")
			}
			if len(lines) != c.height {
				t.Errorf("%d lines on a screen of %d", len(lines), c.height)
			}
			got := strings.Join(lines, "\n") + "\n"
			compareGolden(t, name, got)
		})
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", "top", name+".txt")
	if *updateGolden {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got; -update writes it anew:\n%s", diff)
	}
}

func TestTopKeys(t *testing.T) {
	for _, c := range []struct{ keys, selected, did string }{
		{"", "halls", ""}, // trouble comes first
		{"down", "waits", ""},
		{"j j k", "waits", ""},
		{"up up", "halls", ""},
		{"end", "done", ""},
		{"G g", "halls", ""},
		{"pgdown", "done", ""},
		{"s", "halls", ""}, // the selection stays on its pipeline
		{"q", "halls", "tea.QuitMsg"},
		{"ctrl+c", "halls", "tea.QuitMsg"},
		{"ctrl+l", "halls", "tea.clearScreenMsg"},
		{"enter q", "halls", "tea.QuitMsg"},
		{"/q", "quiet", ""}, // q is a letter there
		{"/halls ctrl+c", "halls", "tea.QuitMsg"},
		{"/pau enter p", "paused", ""}, // is paused already
		{"/pau enter r", "paused", "resume paused"},
		{"p y", "halls", "pause halls"},
		{"p n", "halls", ""},
		{"p esc", "halls", ""},
		{"p q", "halls", ""},
		{"r y", "halls", "restart halls"},
		{"r r", "halls", ""},
		{"enter r y", "halls", "restart halls"},
		{"enter down p y esc down", "waits", "pause halls"},
		{"/zzz enter p", "", ""},
		{"/zzz enter enter r", "", ""},
		{"/zzz esc p y", "halls", "pause halls"},
		{"/zzz backspace backspace backspace", "halls", ""},
		{"/FAILED", "halls", ""},
	} {
		t.Run(c.keys, func(t *testing.T) {
			got, did := folded(80, 24, []tea.Msg{answer(busy())}, press(c.keys))
			if got.selected != c.selected || strings.Join(did, ", ") != c.did {
				t.Errorf("%q is selected and it did %q, want %q and %q", got.selected, did, c.selected, c.did)
			}
		})
	}
}

// Rates are of the time that has passed by the clock of the bridge, and where it is not known what
// has moved there is no point.
func TestTopTraces(t *testing.T) {
	at := func(seconds int, started time.Time, delivered uint64) polled {
		return answer(monitor.Status{
			Started: started, Now: noon.Add(time.Duration(seconds) * time.Second),
			Pipelines: []monitor.Pipeline{{Name: "p", Ledger: monitor.Ledger{Delivered: delivered}}},
		})
	}
	nan := math.NaN()
	gone := polled{err: errors.New("gone")}
	for name, c := range map[string]struct {
		happened []tea.Msg
		want     []float64
	}{
		"steady":              {[]tea.Msg{at(0, noon, 1000), at(1, noon, 1010), at(3, noon, 1050)}, []float64{nan, 10, 20}},
		"nothing moves":       {[]tea.Msg{at(0, noon, 5), at(1, noon, 5)}, []float64{nan, 0}},
		"another bridge":      {[]tea.Msg{at(0, noon, 5), at(1, noon.Add(1), 500)}, []float64{nan, nan}},
		"counts anew":         {[]tea.Msg{at(0, noon, 5), at(1, noon, 2), at(2, noon, 4)}, []float64{nan, nan, 2}},
		"the clock goes back": {[]tea.Msg{at(5, noon, 5), at(1, noon, 9), at(2, noon, 10)}, []float64{nan, nan, 1}},
		"silent for a while":  {[]tea.Msg{at(0, noon, 0), gone, gone, at(4, noon, 8)}, []float64{nan, nan, nan, 2}},
		"a pipeline is new": {
			[]tea.Msg{answer(monitor.Status{Started: noon, Now: noon}), at(1, noon, 7), at(2, noon, 8)},
			[]float64{nan, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := folded(80, 24, c.happened)
			if a, b := fmt.Sprint(got.traces["p"].out), fmt.Sprint(c.want); a != b {
				t.Errorf("points %s, want %s", a, b)
			}
		})
	}
	read := func(seconds int, received, returned uint64) polled {
		return answer(monitor.Status{
			Started: noon, Now: noon.Add(time.Duration(seconds) * time.Second), Pipelines: []monitor.Pipeline{
				{Name: "p", Ledger: monitor.Ledger{Received: received}, Returned: monitor.Returned{Received: returned}},
			},
		})
	}
	again, _ := folded(80, 24, []tea.Msg{read(0, 10, 0), read(1, 4, 8)})
	if got, want := fmt.Sprint(again.traces["p"].in), fmt.Sprint([]float64{nan, 2}); got != want {
		t.Errorf("when messages were given back: points %s, want %s", got, want)
	}
	long, _ := folded(80, 24, moving(busy(), make([]uint64, 3*topPoints)...))
	if n := len(long.traces["copy"].out); n != topPoints {
		t.Errorf("%d points are kept, want %d", n, topPoints)
	}
}

// The selection stays on its pipeline when the list changes, and on the screen.
func TestTopSelection(t *testing.T) {
	t.Parallel()
	without := busy()
	without.Pipelines = slices.Delete(slices.Clone(without.Pipelines), 2, 3) // halls
	for name, c := range map[string]struct {
		happened [][]tea.Msg
		selected string
		open     bool
	}{
		"gone":              {[][]tea.Msg{{answer(busy())}, {answer(without)}}, "waits", false},
		"gone while opened": {[][]tea.Msg{{answer(busy())}, press("enter"), {answer(without)}}, "waits", false},
		"moves":             {[][]tea.Msg{{answer(without)}, {answer(busy())}}, "waits", false},
		"all gone":          {[][]tea.Msg{{answer(busy())}, {answer(many(0))}}, "", false},
		"comes":             {[][]tea.Msg{{answer(many(0))}, {answer(busy())}}, "halls", false},
		"bridge gone": {
			[][]tea.Msg{{answer(busy())}, press("down enter"), {polled{err: errors.New("x")}}},
			"waits", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := folded(80, 24, c.happened...)
			if got.selected != c.selected || got.open != c.open {
				t.Errorf("%q is selected, opened: %v, want %q, %v", got.selected, got.open, c.selected, c.open)
			}
		})
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	model, _ := folded(60, 20, []tea.Msg{answer(many(200))})
	words := []string{"up", "down", "pgdown", "home", "end", "k", "j", "s", "enter", "esc", "/1", "enter esc"}
	for range faulttest.Pick(500, 10_000) {
		next, _ := folded(10+r.IntN(100), 5+r.IntN(40), nil)
		model.width, model.height = next.width, next.height
		var m tea.Model = model
		for _, k := range press(words[r.IntN(len(words))]) {
			m, _ = m.Update(k)
		}
		model = m.(top)
		if text := screenOf(model); !model.open && len(model.rows()) > 0 && !strings.Contains(text, "▸") {
			t.Fatalf("the selection %q is not on the screen:\n%s", model.selected, text)
		}
	}
}

// Whatever a status says, at any size: no line is wider than the screen, none is broken, and nothing
// reaches the terminal that it would obey.
func TestS34TopControlCharacters(t *testing.T) {
	t.Parallel()
	evil := hostile + "\nline\ttab\r\n" + strings.Repeat("é́́日👩‍🔧", 10)
	s := busy()
	n := everyText(reflect.ValueOf(&s), evil)
	if n < 40 {
		t.Fatalf("%d texts are in the status", n)
	}
	for i := range s.Pipelines {
		s.Pipelines[i].Name = fmt.Sprint(evil, i)
	}
	gone := polled{err: errors.New(evil), at: noon}
	for _, happened := range [][][]tea.Msg{
		{{gone}},
		{{answer(s)}},
		{{answer(s)}, press("enter")},
		{{answer(s)}, {gone}},
		{{answer(s)}, press("p")},
		{{answer(s)}, {acted{err: errors.New(evil)}}},
		{{answer(s)}, press("/"), {tea.PasteMsg{Content: evil}}},
	} {
		for _, width := range []int{0, 1, 2, 3, 4, 5, 8, 13, 26, 40, 41, 60, 79, 80, 132} {
			for _, height := range []int{0, 1, 2, 5, 24, 200} {
				shown, _ := folded(width, height, happened...)
				lines := shown.draw()
				if len(lines) != height {
					t.Fatalf("%d lines on a screen of %d×%d", len(lines), width, height)
				}
				for _, line := range lines {
					bare := ansi.Strip(line)
					if ansi.StringWidth(line) > width || visible(bare) != bare || strings.ContainsAny(bare, "\n\t\r") {
						t.Fatalf("on a screen of %d×%d: %q", width, height, line)
					}
					for _, control := range controls {
						if strings.Contains(line, control) {
							t.Fatalf("on a screen of %d×%d: a terminal gets %q in %q", width, height, control, line)
						}
					}
				}
			}
		}
	}
}

// everyText sets all text in v, and returns how much there is.
func everyText(v reflect.Value, text string) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n = everyText(v.Elem(), text)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			n += everyText(field, text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += everyText(v.Index(i), text)
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(text)
			n = 1
		}
	}
	return n
}

func TestTopTree(t *testing.T) {
	end := func(name string, after ...string) monitor.End { return monitor.End{Instance: name, After: after} }
	for name, c := range map[string]struct {
		ends []monitor.End
		want string
	}{
		"none":        {nil, ""},
		"chain":       {[]monitor.End{end("a"), end("b", "a"), end("c", "b")}, "a|↓ b|↓ c"},
		"two sources": {[]monitor.End{end("a"), end("b"), end("c", "a", "b")}, "a|b|↓ c"},
		"branches": {
			[]monitor.End{
				end("a"), end("b", "a"), end("c", "b"), end("d", "b"), end("e", "d"), end("f", "b"), end("g", "f"), end("h", "f"),
			},
			"a|↓ b|├ c|├ d|│ ↓ e|└ f|  ├ g|  └ h",
		},
		"sinks join": {
			[]monitor.End{end("a"), end("b", "a"), end("c", "a"), end("dead", "b", "c")},
			"a|├ b|└ c|  ↓ dead",
		},
		"circle":       {[]monitor.End{end("a", "b"), end("b", "a")}, "a|↓ b"},
		"after nobody": {[]monitor.End{end("a", "x")}, "a"},
		"after itself": {[]monitor.End{end("a", "a")}, "a"},
		"sinks first":  {[]monitor.End{end("z", "a"), end("a")}, "a|↓ z"},
		"one name":     {[]monitor.End{end("a"), end("a")}, "a|a"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, b := range treeOf(c.ends) {
				got = append(got, b.sign+b.Instance)
			}
			if text := strings.Join(got, "|"); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestTopNumbers(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.04: "<0.1", 0.1: "0.1", 0.5: "0.5", 9.94: "9.9", 9.99: "10", 10: "10", 3: "3", 12.4: "12", 999: "999",
		9999: "9999", 10000: "10.0k", 99949: "99.9k",
		99960: "100k", 999499: "999k", 999501: "1.0M", 1.5e9: "1.5G", 1.8e19: "18.0E",
	} {
		if got := amount(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 0: "0.0s", 9949 * time.Millisecond: "9.9s", 9950 * time.Millisecond: "10s",
		119 * time.Second: "119s",
		2 * time.Minute:   "2m", 119 * time.Minute: "119m", 2 * time.Hour: "2h", 48 * time.Hour: "2d", math.MaxInt64: "106751d",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
	nan := math.NaN()
	if got := sparkline([]float64{9, nan, 0, 1, 5, 10}, 7); got != "  ▁▂▅█" && got != " █ ▁▂▅█" {
		t.Errorf("sparkline %q", got)
	}
}

// said returns what status, the list of top, and top with that pipeline alone say of it.
func said(t *testing.T, p monitor.Pipeline) map[string]string {
	now := p.Since.Add(time.Minute)
	st := monitor.Status{Now: now, Started: now, Pipelines: []monitor.Pipeline{p}}
	var out strings.Builder
	if err := (std{out: &out}).printStatus(st); err != nil {
		t.Error(err)
	}
	shown := top{status: st, width: 200}
	return map[string]string{
		"status": out.String(), "the list of top": shown.note(p),
		"a pipeline in top": strings.Join(shown.opened(p), "\n"),
	}
}

func TestTriesAgainIsTold(t *testing.T) {
	again := time.Unix(72, 0)
	p := monitor.Pipeline{Name: "p", State: monitor.Waiting, Reason: "no such host", Since: time.Unix(0, 0), Again: &again}
	for where, got := range said(t, p) {
		if !strings.Contains(got, "tries again in 12s") {
			t.Errorf("%s does not say when it tries again:\n%s", where, got)
		}
	}
}

// What is read out is not all done while messages of it wait.
func TestProgressIsNotDoneWhileMessagesWait(t *testing.T) {
	p := monitor.Pipeline{Name: "p", State: monitor.Running, Progress: &monitor.Progress{Done: 4, Total: 4}, Owed: 2}
	for where, got := range said(t, p) {
		if !strings.Contains(got, "99%, 4B of 4B read, 2 messages to be delivered yet") {
			t.Errorf("%s says it is done:\n%s", where, got)
		}
	}
	p.Owed = 0
	for where, got := range said(t, p) {
		if !strings.Contains(got, "100%, 4B of 4B read") || strings.Contains(got, "yet") {
			t.Errorf("%s does not say it is done:\n%s", where, got)
		}
	}
}

// An error of the pipeline itself has no place, and status does not say again what the reason says.
func TestErrorsOfNoEnd(t *testing.T) {
	now := time.Now()
	p := monitor.Pipeline{
		Name: "never", State: monitor.Waiting, Reason: `pipeline "never": no such host`,
		Errors: []monitor.Error{{At: now, Text: `pipeline failed, will start it again: pipeline "never": no such host`, N: 5}},
	}
	p.Since = now
	if got := said(t, p)["status"]; strings.Count(got, "no such host") != 1 {
		t.Errorf("twice the same:\n%s", got)
	}
	running := p
	running.State, running.Reason = monitor.Running, ""
	for what, got := range said(t, running) {
		if strings.Contains(got, " : ") || strings.Contains(got, ", : ") || strings.Contains(got, ": : ") ||
			!strings.Contains(got, "pipeline failed, will") {
			t.Errorf("%s has an empty place:\n%s", what, got)
		}
	}
}
