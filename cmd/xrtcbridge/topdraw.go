package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// sign is how a state looks.
type sign struct {
	rank  int // what wants to be looked at comes first
	shape string
	color ansi.BasicColor
}

// signs are those of pipelines and ends. Each has a shape of its own, for who cannot tell the colours
// or has none.
var signs = map[string]sign{
	string(monitor.Failed): {0, "✖", ansi.Red}, string(monitor.Waiting): {1, "↻", ansi.Magenta},
	string(monitor.Degraded): {2, "▲", ansi.Yellow}, string(monitor.Starting): {3, "◌", ansi.Cyan},
	string(monitor.Draining): {4, "▽", ansi.Cyan}, string(monitor.Paused): {5, "‖", ansi.Blue},
	string(monitor.Running): {6, "●", ansi.Green}, string(monitor.Finished): {7, "✔", ansi.Green},

	string(monitor.EndDown): {0, "✖", ansi.Red}, string(monitor.EndConnecting): {1, "◌", ansi.Cyan},
	string(monitor.EndIdle): {2, "○", ansi.Blue}, string(monitor.EndClosed): {3, "□", ansi.Blue},
	string(monitor.EndUp): {4, "●", ansi.Green},
}

func signOf[S ~string](state S) sign {
	if s, known := signs[string(state)]; known {
		return s
	}
	return sign{2, "?", ansi.Yellow}
}

func mark[S ~string](state S) string { return signOf(state).paint(signOf(state).shape) }

func word[S ~string](state S) string { return signOf(state).paint(string(state)) }

func (s sign) paint(text string) string { return ansi.NewStyle().ForegroundColor(s.color).Styled(text) }

func bold(text string) string  { return ansi.NewStyle().Bold().Styled(text) }
func faint(text string) string { return ansi.NewStyle().Faint().Styled(text) }

func (t top) View() tea.View {
	v := tea.NewView(strings.Join(t.draw(), "\n"))
	v.AltScreen = true
	return v
}

// draw returns the lines of the screen, none wider than it.
func (t top) draw() []string {
	titles, lines, _, _ := t.body()
	lines = lines[min(t.first, len(lines)):]
	lines = slices.Concat(titles, lines[:min(t.room(), len(lines))])
	if t.lost != nil { // they are old
		for i := range lines {
			lines[i] = faint(ansi.Strip(lines[i]))
		}
	}
	lines = append(t.header(), lines...)
	footer := t.footer()
	for len(lines)+len(footer) < t.height {
		lines = append(lines, "")
	}
	lines = append(lines, footer...)
	lines = lines[:min(len(lines), t.height)]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], t.width, "…")
	}
	return lines
}

// room returns how many lines of the body fit on the screen.
func (t top) room() int {
	titles := 1
	if t.open {
		titles = 0
	}
	return max(1, t.height-len(t.header())-titles-len(t.footer()))
}

// header says what holds for all pipelines.
func (t top) header() []string {
	s := t.status
	line := bold("xrtcbridge")
	if !t.answered.IsZero() {
		state := signOf(monitor.Degraded).paint("▲ not ready")
		switch {
		case t.lost != nil:
			state = signOf(monitor.Failed).paint("✖ no answer")
		case s.Draining:
			state = signOf(monitor.Draining).paint("▽ stopping")
		case s.Ready:
			state = signOf(monitor.Running).paint("● ready")
		}
		line = fmt.Sprintf("%s %s  pid %d  up %s  %s  %s", line, s.Version, s.PID, lasting(s.Now.Sub(s.Started)),
			state, census(s))
	}
	lines := []string{line}
	switch {
	case t.lost != nil && t.answered.IsZero():
		lines = append(lines, t.wrapped("no answer yet, trying again: "+oneLine(t.lost.Error()))...)
		if f := (failure{}); errors.As(t.lost, &f) && f.hint != "" {
			lines = append(lines, t.wrapped("hint: "+f.hint)...)
		}
	case t.lost != nil:
		lines = append(lines, bold(fmt.Sprintf("▲ what is below was so %s ago; trying again: ",
			lasting(t.now.Sub(t.answered))))+
			oneLine(t.lost.Error()))
	case t.answered.IsZero():
		lines = append(lines, "asking the bridge")
	}
	if r := s.Config.Rejected; r != nil {
		lines = append(lines, fmt.Sprintf("▲ reload failed %s ago: %s", lasting(s.Now.Sub(r.At)), r.Error))
	}
	return lines
}

// census counts the pipelines in each state.
func census(s monitor.Status) string {
	count := map[monitor.State]int{}
	var states []monitor.State
	for _, p := range s.Pipelines {
		if count[p.State]++; count[p.State] == 1 {
			states = append(states, p.State)
		}
	}
	slices.SortFunc(states, func(a, b monitor.State) int { return signOf(a).rank - signOf(b).rank })
	var parts []string
	for _, state := range states {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
	}
	return strings.TrimSuffix(bridge.Plural(len(s.Pipelines), "pipeline")+": "+strings.Join(parts, ", "), ": ")
}

// footer says which keys there are, and what came of the last one.
func (t top) footer() []string {
	var lines []string
	if t.said != "" {
		lines = append(lines, bold(t.said))
	}
	p, _ := t.pipeline()
	r := "r restart"
	if p.State == monitor.Paused {
		r = "r resume"
	}
	keys := []string{"q quit", "enter open", "↑↓ move", "/ filter", "s sort: " + topOrders[t.order].name, "p pause", r}
	switch {
	case t.sure != "":
		return append(lines, bold(fmt.Sprintf("%s %s?", t.sure, t.selected))+" y yes, any other key no")
	case t.typing:
		return append(lines, bold("filter: "+t.filter+"█")+"  enter keep  esc clear")
	case t.open:
		keys = []string{"q quit", "esc back", "↑↓ scroll", "p pause", r}
	case t.filter != "":
		lines = append(lines, bold("filter: "+t.filter)+"  esc clear")
	}
	line := ""
	for _, key := range keys {
		if line != "" && ansi.StringWidth(line+"  "+key) > t.width {
			lines, line = append(lines, faint(line)), ""
		}
		line += map[bool]string{true: "  "}[line != ""] + key
	}
	return append(lines, faint(line))
}

// body returns the lines between header and footer, with their titles, and which of them are the
// selection.
func (t top) body() (titles, lines []string, from, to int) {
	if p, exists := t.pipeline(); t.open && exists {
		return nil, t.opened(p), 0, 0
	}
	rows := t.rows()
	type column = gridColumn[monitor.Pipeline]
	table := grid(t.width-4, rows,
		column{"PIPELINE", 0, 8, 24, 0, func(p monitor.Pipeline) string { return p.Name }},
		column{"STATE", 1, 8, 8, 0, func(p monitor.Pipeline) string { return word(p.State) }},
		column{"IN/s", 4, 6, 0, 0, func(p monitor.Pipeline) string { return amount(p.In.Messages) }},
		column{"OUT/s", 2, 6, 0, 0, func(p monitor.Pipeline) string { return amount(p.Out.Messages) }},
		column{"OWED", 3, 6, 0, 0, func(p monitor.Pipeline) string { return amount(p.Owed) }},
		column{"OLDEST", 5, 6, 0, 0, func(p monitor.Pipeline) string { return since(t.status.Now, p.Oldest) }},
		column{"DROPPED", 6, 7, 0, 0, func(p monitor.Pipeline) string { return amount(p.Ledger.Dropped) }},
		column{"RESTARTS", 8, 8, 0, 0, func(p monitor.Pipeline) string { return amount(p.Restarts) }},
		column{"DEAD-LETTERED", 9, 13, 0, 0, func(p monitor.Pipeline) string { return amount(p.Ledger.DeadLettered) }},
		column{"OUT", 7, 6, 0, 30, func(p monitor.Pipeline) string { return sparkline(t.traces[p.Name].out, 30) }},
	)
	for i, p := range rows {
		row := "  "
		if p.Name == t.selected {
			row, from = bold("▸ "), len(lines)
		}
		lines = append(lines, row+mark(p.State)+" "+table[i+1])
		if note := t.note(p); note != "" {
			lines = append(lines, "    "+faint("└ "+note))
		}
		if p.Name == t.selected {
			to = len(lines)
		}
	}
	if len(rows) == 0 && !t.answered.IsZero() {
		lines = []string{"  no pipeline"}
	}
	return []string{bold("    " + table[0])}, lines, from, to
}

// recent is how long the list shows an error of a pipeline that goes on.
const recent = 5 * time.Minute

// note is what there is to say about a pipeline besides its numbers.
func (t top) note(p monitor.Pipeline) string {
	var parts []string
	if p.Reason != "" {
		parts = append(parts, p.Reason)
	} else if len(p.Errors) > 0 && t.status.Now.Sub(p.Errors[0].At) < recent {
		e := p.Errors[0]
		parts = append(parts, fmt.Sprintf("%s ago: %v", lasting(t.status.Now.Sub(e.At)), e))
	}
	if p.Again != nil {
		parts = append(parts, triesAgain(t.status.Now, p.Again))
	}
	parts = append(parts, p.Notes...)
	if p.Progress != nil {
		parts = append(parts, progressText(p))
	}
	return strings.Join(parts, "; ")
}

// triesAgain says when a pipeline that waits is started again.
func triesAgain(now time.Time, at *time.Time) string { return "tries again in " + lasting(at.Sub(now)) }

// progressText says how far the inputs of a pipeline are read. All is done when nothing is owed.
func progressText(of monitor.Pipeline) string {
	p := of.Progress
	text := fmt.Sprintf("%s of %s read", approximate(uint64(max(0, p.Done))), approximate(uint64(max(0, p.Total))))
	if p.Total > 0 {
		percent := 100 * min(p.Done, p.Total) / p.Total
		if percent == 100 && of.Owed > 0 {
			percent, text = 99, fmt.Sprintf("%s, %s to be delivered yet", text, bridge.Plural(of.Owed, "message"))
		}
		text = fmt.Sprintf("%d%%, %s", percent, text)
	}
	if p.Left != nil {
		text += fmt.Sprintf(", %s left", lasting(time.Duration(*p.Left*float64(time.Second))))
	}
	return text
}

// opened returns the lines of a pipeline that is shown alone.
func (t top) opened(p monitor.Pipeline) []string {
	now := t.status.Now
	title := fmt.Sprintf("%s %s  %s for %s", mark(p.State), bold(p.Name), word(p.State), lasting(now.Sub(p.Since)))
	if p.Optional {
		title += "  optional"
	}
	if p.Restarts > 0 {
		title += "  " + bridge.Plural(p.Restarts, "restart")
	}
	if p.Again != nil {
		title += "  " + triesAgain(now, p.Again)
	}
	lines := append([]string{title}, t.wrapped(p.Reason)...)
	for _, note := range p.Notes {
		lines = append(lines, t.wrapped(note)...)
	}
	if p.Progress != nil {
		lines = append(lines, t.wrapped(progressText(p))...)
	}
	moves := func(name string, r monitor.Rates, points []float64, last *time.Time) string {
		return fmt.Sprintf("  %-4s %5s/s  last %4s  5m %5s/s  %9s/s  %s", name, amount(r.Messages), since(now, last),
			amount(r.Messages5m), approximate(uint64(max(0, r.Bytes))), sparkline(points, max(0, min(topPoints, t.width-55))))
	}
	trace := t.traces[p.Name]
	lines = append(lines, moves("in", p.In, trace.in, p.LastIn), moves("out", p.Out, trace.out, p.LastOut))
	owed := fmt.Sprintf("  owed %5s", amount(p.Owed))
	if p.Oldest != nil {
		owed += "    the oldest for " + since(now, p.Oldest)
	}
	var counts []string
	for _, c := range columns(false) {
		if n := c.count(engine.Ledger(p.Ledger)); n > 0 || c.shown {
			counts = append(counts, fmt.Sprintf("%s %d", strings.ToLower(c.title), n))
		}
	}
	for _, r := range p.Reasons {
		counts = append(counts, fmt.Sprintf("(%s by %s %d)", strings.ReplaceAll(r.Outcome, "_", "-"), r.Reason, r.N))
	}
	lines = slices.Concat(lines, []string{owed}, t.wrapped(strings.Join(counts, "  ")), []string{""}, t.ends(p))
	if len(p.Errors) > 0 {
		lines = append(lines, "", bold("ERRORS"))
	}
	for _, e := range p.Errors {
		lines = append(lines, t.wrapped(fmt.Sprintf("%s ×%d %v", e.At.Local().Format(time.TimeOnly), e.N, e))...)
	}
	return lines
}

// wrapped returns a text in lines, indented by two.
func (t top) wrapped(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split("  "+strings.ReplaceAll(ansi.Wrap(text, max(1, t.width-2), ""), "\n", "\n  "), "\n")
}

// ends returns the lines of the ends and steps of a pipeline, as a tree.
func (t top) ends(p monitor.Pipeline) []string {
	tree := treeOf(p.Ends)
	type column = gridColumn[twig]
	table := grid(t.width-2, tree,
		column{"END", 0, 8, 24, 0, func(e twig) string { return e.sign + e.Kind + " " + e.Type }},
		column{"NAME", 4, 4, 12, 0, func(e twig) string { return strings.TrimPrefix(e.Instance, p.Name+"-") }},
		column{"STATE", 1, 10, 10, 0, func(e twig) string { return word(e.State) }},
		column{"MESSAGES", 2, 8, 0, 0, func(e twig) string { return amount(e.Messages) }},
		column{"PASSED", 6, 6, 0, 0, func(e twig) string {
			if e.Kind != "step" && e.Kind != "buffer" {
				return ""
			}
			return amount(e.Passed)
		}},
		column{"REFUSED", 5, 7, 0, 0, func(e twig) string { return amount(e.Refused) }},
		column{"RATE/s", 3, 6, 0, 0, func(e twig) string { return amount(e.Rates.Messages) }},
		column{"LAST", 7, 5, 0, 0, func(e twig) string { return since(t.status.Now, e.Last) }},
	)
	lines := []string{bold("  " + table[0])}
	for i, e := range tree {
		lines = append(lines, mark(e.State)+" "+table[i+1])
		for _, line := range t.wrapped(e.Reason) {
			lines = append(lines, faint(line))
		}
	}
	return lines
}
