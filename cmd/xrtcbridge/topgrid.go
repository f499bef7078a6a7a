package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// twig is an end with what leads to it in front.
type twig struct {
	monitor.End
	sign string
}

// treeOf returns the ends as a tree. Who gets messages of several stands behind the last.
func treeOf(ends []monitor.End) []twig {
	const root = -1
	children := map[int][]int{}
	for i, e := range ends {
		parent := root
		for j, other := range ends {
			if slices.Contains(e.After, other.Instance) {
				parent = j
			}
		}
		children[parent] = append(children[parent], i)
	}
	var tree []twig
	done := map[int]bool{}
	var walk func(i int, indent, sign, below string)
	walk = func(i int, indent, sign, below string) {
		if done[i] {
			return
		}
		done[i] = true
		tree = append(tree, twig{ends[i], indent + sign})
		next := children[i]
		for n, child := range next {
			switch {
			case len(next) == 1:
				walk(child, indent+below, "↓ ", "")
			case n < len(next)-1:
				walk(child, indent+below, "├ ", "│ ")
			default:
				walk(child, indent+below, "└ ", "  ")
			}
		}
	}
	for _, i := range children[root] {
		walk(i, "", "", "")
	}
	for i := range ends { // those in a circle
		walk(i, "", "", "")
	}
	return tree
}

// gridColumn is a column of a table of such rows.
type gridColumn[Row any] struct {
	title string
	rank  int // those of high rank are left out first if there is no room; one of rank 0 never
	width int // at least, if there is room
	least int // of one that may be narrower than its cells and stands at the left
	most  int // of one that may be wider, and shows the ends of its cells
	cell  func(Row) string
}

// grid returns the lines of a table, the first with the titles. None is wider than that, unless the
// first column alone is.
func grid[Row any](width int, rows []Row, columns ...gridColumn[Row]) []string {
	cells := make([][]string, len(columns))
	total := -1
	for i := range columns {
		c := &columns[i]
		cells[i] = append(cells[i], c.title)
		for _, row := range rows {
			cells[i] = append(cells[i], c.cell(row))
			if c.most == 0 {
				c.width = max(c.width, ansi.StringWidth(cells[i][len(cells[i])-1]))
			}
		}
		total += min(c.width, cmp.Or(c.least, c.width)) + 1
	}
	for total > width {
		last := 0
		for i, c := range columns {
			if c.rank > columns[last].rank {
				last = i
			}
		}
		c := columns[last]
		if c.rank == 0 {
			break
		}
		total -= min(c.width, cmp.Or(c.least, c.width)) + 1
		columns, cells = slices.Delete(columns, last, last+1), slices.Delete(cells, last, last+1)
	}
	lines := make([]string, len(rows)+1)
	for i, c := range columns {
		narrow := min(c.width, cmp.Or(c.least, c.width))
		wide := min(max(c.width, c.most), max(narrow, narrow+width-total))
		total += wide - narrow
		for row, text := range cells[i] {
			if over := ansi.StringWidth(text) - wide; c.most > 0 && over > 0 && row > 0 {
				text = ansi.TruncateLeft(text, over, "")
			}
			text = ansi.Truncate(text, wide, "…")
			pad := strings.Repeat(" ", max(0, wide-ansi.StringWidth(text)))
			if c.least > 0 {
				pad, text = text, pad
			}
			if lines[row] += pad + text; i < len(columns)-1 {
				lines[row] += " "
			}
		}
	}
	return lines
}

// sparkline draws the last points. One of nothing is a low line, one that is not known is blank.
func sparkline(points []float64, width int) string {
	points = points[max(0, len(points)-width):]
	most := 0.0
	for _, p := range points {
		if p > most {
			most = p
		}
	}
	bars := []rune("▂▃▄▅▆▇█")
	line := []rune(strings.Repeat(" ", width-len(points)))
	for _, p := range points {
		switch {
		case math.IsNaN(p):
			line = append(line, ' ')
		case p <= 0:
			line = append(line, '▁')
		default:
			line = append(line, bars[min(len(bars)-1, int(p/most*float64(len(bars))))])
		}
	}
	return string(line)
}

// amount writes a number or rate with at most five characters.
func amount[N uint64 | float64](n N) string {
	x := float64(n)
	if x > 0 && x < 9.95 && x != math.Trunc(x) {
		if x < 0.1 {
			return "<0.1"
		}
		return fmt.Sprintf("%.1f", x)
	}
	if x < 9999.5 {
		return fmt.Sprintf("%.0f", x)
	}
	units := "kMGTPE"
	for x /= 1000; x >= 999.5 && len(units) > 1; units = units[1:] {
		x /= 1000
	}
	if x < 99.95 {
		return fmt.Sprintf("%.1f%c", x, units[0])
	}
	return fmt.Sprintf("%.0f%c", x, units[0])
}

// lasting writes a duration with at most four characters.
func lasting(d time.Duration) string {
	switch d = max(0, d); {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func since(now time.Time, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return lasting(now.Sub(*t))
}
