package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

const mostRows = 12 // of a payload

// tappedText writes for people what passed, as harmless text: a message, and what a step made of it
// beside it, with | between what differs, and < or > where there is one only.
func tappedText(t *monitor.Tapped, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s  %s", tappedAt(t.At), visible(t.Place), t.Outcome)
	if t.Reason != "" {
		b.WriteString(": " + inOneLine(t.Reason))
	}
	if t.Cut > 0 {
		fmt.Fprintf(&b, "  (%d bytes are not shown)", t.Cut)
	}
	b.WriteString("\n")
	if t.Kind != "step" || t.Message != nil && len(t.After) == 0 {
		for _, r := range rows(t.Message, width-12) {
			fmt.Fprintf(&b, "  %-9s%s\n", r.name, r.text)
		}
		return b.String()
	}
	half := max(20, (width-16)/2)
	for i := range max(1, len(t.After)) {
		var left, right []row
		if i == 0 {
			left = rows(t.Message, half)
		}
		if i < len(t.After) {
			right = rows(&t.After[i], half)
		}
		for len(left) > 0 || len(right) > 0 {
			var l, r *row
			switch {
			case len(left) == 0 || len(right) > 0 && after(left[0].name, right[0].name):
				r, right = &right[0], right[1:]
			case len(right) == 0 || after(right[0].name, left[0].name):
				l, left = &left[0], left[1:]
			default:
				l, r, left, right = &left[0], &right[0], left[1:], right[1:]
			}
			b.WriteString(sideBySide(l, r, half))
		}
	}
	return b.String()
}

// sideBySide writes a row before a step and the one behind it; nil: there is none.
func sideBySide(l, r *row, half int) string {
	var name, left, right string
	mark := " "
	switch {
	case r == nil:
		name, left, mark = l.name, l.text, "<"
	case l == nil:
		name, mark, right = r.name, ">", r.text
	default:
		if name, left, right = l.name, l.text, r.text; left != right {
			mark = "|"
		}
	}
	pad := strings.Repeat(" ", max(0, half-utf8.RuneCountInString(left)))
	return strings.TrimRight(fmt.Sprintf("  %-9s%s%s %s %s", name, left, pad, mark, right), " ") + "\n"
}

// row is a line of what a message has.
type row struct{ name, text string }

// after reports whether what a message has of one name stands behind that of another.
func after(a, b string) bool {
	rank := func(name string) string {
		if i := slices.Index([]string{"topic", "id", "", "payload"}, name); i >= 0 {
			return string(rune('0'+i)) + name
		}
		return "2" + name
	}
	return rank(a) > rank(b)
}

// rows returns what a message has.
func rows(m *bridge.Message, width int) (all []row) {
	if m == nil {
		return nil
	}
	add := func(name, text string, most int) {
		lines := wrapped(text, width)
		if len(lines) > most {
			lines = append(lines[:most-1], fmt.Sprintf("… %d bytes", len(text)))
		}
		for _, line := range lines {
			all = append(all, row{name, line})
		}
	}
	add("topic", m.Topic, 2)
	if m.ID != "" {
		add("id", m.ID, 2)
	}
	for _, key := range slices.Sorted(maps.Keys(m.Header)) {
		add("header", key+": "+m.Header[key], 2)
	}
	add("payload", string(m.Payload), mostRows)
	return all
}

// wrapped returns the lines of a text, as harmless text, and none wider than that.
func wrapped(text string, width int) (lines []string) {
	width = max(width, 20) // a terminal may say that it has no columns
	if len(text) > 4*width*mostRows {
		text = text[:4*width*mostRows]
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		line = strings.ReplaceAll(visible(strings.TrimSuffix(line, "\r")), "\t", "    ")
		for runes := []rune(line); ; runes = runes[width:] {
			if len(runes) <= width {
				lines = append(lines, string(runes))
				break
			}
			lines = append(lines, string(runes[:width]))
		}
	}
	return lines
}

func inOneLine(text string) string { return strings.ReplaceAll(visible(text), "\n", `\n`) }
