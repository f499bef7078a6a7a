package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

func newGraph(s std, folders *pluginFolders) *cobra.Command {
	var format string
	cmd := takesFiles(&cobra.Command{
		Use:   "graph [FILE...]",
		Short: "Draw pipelines, as text or as Mermaid",
		Long: `graph draws the pipelines of the files (default: pipelines.yaml): sources, steps, the tree of sinks
with its conditions, and where dead letters go. On a terminal that is text; elsewhere it is
Mermaid, which GitHub, GitLab and many editors draw in a block of Markdown.`,
		Example: `  xrtcbridge graph
  xrtcbridge graph --format mermaid pipelines.yaml > pipelines.mmd`,
	}, func(cmd *cobra.Command, files []string) error {
		k := folders.catalog(s.warnings())
		defer k.close()
		c, err := k.load(cmd.Context(), files)
		if err != nil {
			return err
		}
		var all []drawing
		for _, p := range c.Pipelines {
			d := drawn(p)
			d.to.show(c.Written)
			for i := range d.from {
				d.from[i].show(c.Written)
			}
			all = append(all, d)
		}
		var b strings.Builder
		if format == "mermaid" || format == "" && !isTerminal(s.data) {
			writeMermaid(&b, all)
		} else {
			writeTree(&b, all)
		}
		_, err = io.WriteString(s.out, b.String())
		return err
	})
	folders.add(cmd)
	wordFlag(cmd, &format, "format", "`how` to draw: mermaid or text (default: text on a terminal, else mermaid)",
		"mermaid", "text")
	return cmd
}

// drawing is what is drawn of a pipeline.
type drawing struct {
	name   string
	from   []node
	middle []node // buffer and steps
	to     node
}

// node is one: a source, a step, a sink, or a mode with entries.
type node struct {
	kind    string // source, step, sink, mode, buffer
	label   string
	when    string
	steps   []node
	letters string // where those refused here go to; empty: as around it
	entries []node
}

func drawn(p *engine.Pipeline) drawing {
	d := drawing{name: p.Name, to: drawnBranch(&p.To)}
	if d.to.letters == "" {
		d.to.letters = letters(&p.OnError)
	}
	for _, e := range p.From {
		d.from = append(d.from, node{kind: "source", label: e.Type + topics(e.Traffic), letters: letters(e.OnError)})
	}
	if p.Buffer != nil {
		d.middle = append(d.middle, node{kind: "buffer", label: "buffer on disk"})
	}
	d.middle = append(d.middle, drawnSteps(p.Steps)...)
	return d
}

func drawnSteps(steps []bridge.Endpoint[bridge.Step]) (all []node) {
	for _, e := range steps {
		all = append(all, node{kind: "step", label: e.Type, letters: letters(e.OnError)})
	}
	return all
}

func drawnBranch(b *engine.Branch) node {
	e := node{kind: "sink", label: b.Sink.Type, steps: drawnSteps(b.Steps), letters: letters(b.OnError)}
	if b.When != nil {
		e.when = fmt.Sprint(b.When)
	}
	if t := b.Sink.Traffic.Topic; t != nil {
		e.label += fmt.Sprintf(" %v", t)
	}
	if len(b.Branches) == 0 {
		return e
	}
	e.kind, e.label = "mode", b.Mode.String()
	if b.By != nil {
		e.label += fmt.Sprintf(" by %v", b.By)
	}
	for i := range b.Branches {
		e.entries = append(e.entries, drawnBranch(&b.Branches[i]))
	}
	return e
}

// show has each text that may hold what a setting says go through as, which hides what ${…} stands
// for, before it is quoted.
func (e *node) show(as func(string) string) {
	e.label, e.when = as(e.label), as(e.when)
	for i := range e.entries {
		e.entries[i].show(as)
	}
}

// topics says what a source reads, as far as it is known: topics, or what they begin with.
func topics(t bridge.Traffic) string {
	var all []string
	for _, begins := range t.Topics {
		if strings.TrimRight(begins, "/.") != begins || begins == "" {
			begins += "…"
		}
		all = append(all, begins)
	}
	return strings.TrimRight(" "+strings.Join(all, ", "), " ")
}

// letters says where dead letters go, empty if there are none.
func letters(o *bridge.OnError) string {
	switch {
	case o == nil || o.Then != bridge.FateDeadLetter:
		return ""
	case o.DeadLetter.Open == nil:
		return "state"
	}
	return o.DeadLetter.Type
}

// writeTree draws as text.
func writeTree(b *strings.Builder, all []drawing) {
	for i, d := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintln(b, d.name)
		for _, e := range d.from {
			fmt.Fprintf(b, "  from %s\n", e.text())
		}
		for _, e := range d.middle {
			fmt.Fprintf(b, "  %s %s\n", strings.Replace(e.kind, "buffer", "by", 1), e.text())
		}
		d.to.tree(b, "  to ", "     ")
	}
}

// text is a node on a line.
func (e node) text() string {
	if e.letters != "" {
		return e.label + "  (dead letters: " + e.letters + ")"
	}
	return e.label
}

// tree draws an entry: first stands before its first line, and rest before the others.
func (e node) tree(b *strings.Builder, first, rest string) {
	line := ""
	if e.when != "" {
		line = "when " + e.when + ": "
	}
	for _, s := range e.steps {
		line += s.text() + " → "
	}
	fmt.Fprintln(b, first+line+e.text())
	for i, inner := range e.entries {
		if i < len(e.entries)-1 {
			inner.tree(b, rest+"├─ ", rest+"│  ")
		} else {
			inner.tree(b, rest+"└─ ", rest+"   ")
		}
	}
}

// mermaid writes nodes and arrows, and numbers the nodes.
type mermaid struct {
	*strings.Builder
	nodes int
}

// writeMermaid draws as Mermaid.
func writeMermaid(b *strings.Builder, all []drawing) {
	m := &mermaid{Builder: b}
	m.WriteString("flowchart LR\n")
	for i, d := range all {
		fmt.Fprintf(m, "  subgraph p%d[%s]\n", i+1, quoted(d.name))
		var ends []string
		for _, e := range d.from {
			ends = append(ends, m.draw(e))
		}
		for _, e := range d.middle {
			ends = []string{m.arrows(ends, "", m.draw(e))}
		}
		m.branch(ends, d.to)
		m.WriteString("  end\n")
	}
}

// branch draws an entry behind those nodes.
func (m *mermaid) branch(before []string, e node) {
	label := e.when
	for _, s := range e.steps {
		before, label = []string{m.arrows(before, label, m.draw(s))}, ""
	}
	before = []string{m.arrows(before, label, m.draw(e))}
	for _, inner := range e.entries {
		m.branch(before, inner)
	}
}

// shape is what a node of a kind looks like.
func shape(kind, label string) string {
	switch kind {
	case "source", "sink":
		return "([" + label + "])"
	case "mode":
		return "{" + label + "}"
	case "buffer":
		return "[(" + label + ")]"
	}
	return "[" + label + "]"
}

// draw draws a node, with that of its dead letters, and returns its name.
func (m *mermaid) draw(e node) string {
	m.nodes++
	name := fmt.Sprintf("n%d", m.nodes)
	fmt.Fprintf(m, "    %s%s\n", name, shape(e.kind, quoted(e.label)))
	if e.letters != "" {
		m.nodes++
		fmt.Fprintf(m, "    n%d[(%s)]\n    %s -. refused .-> n%[1]d\n", m.nodes, quoted("dead letters: "+e.letters), name)
	}
	return name
}

// arrows draws one from each node to another one, which it returns.
func (m *mermaid) arrows(from []string, label, to string) string {
	if label != "" {
		label = "|" + quoted(label) + "|"
	}
	for _, f := range from {
		fmt.Fprintf(m, "    %s -->%s %s\n", f, label, to)
	}
	return to
}

// quoted is text that Mermaid takes as it is.
func quoted(text string) string {
	return `"` + strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\n", " ",
		"\r", " ").Replace(text) + `"`
}
