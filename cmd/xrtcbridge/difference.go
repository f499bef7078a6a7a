package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// difference is what a reload changes, as reload prints it and POST /reload answers.
type difference struct {
	Starts    []change `json:"starts,omitempty"`
	Stops     []change `json:"stops,omitempty"`
	Restarts  []change `json:"restarts,omitempty"`
	Untouched []string `json:"untouched,omitempty"`

	// Refused are top-level keys whose change needs a restart of the process.
	Refused []string `json:"refused,omitempty"`

	// Applied says that it was done, and not only looked at, and Result in words what came of it.
	// Warnings are what went wrong on the way, or may be not what is meant.
	Applied  bool     `json:"applied"`
	Result   string   `json:"result,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// change is that of one pipeline.
type change struct {
	Pipeline string   `json:"pipeline"`
	Because  []string `json:"because,omitempty"`  // parts that are not what they were
	Promises []string `json:"promises,omitempty"` // of its guarantees: "at least once -> at most once"
}

// compare says what is to be done that the pipelines now become those of next.
func compare(now, next map[string]*planned) (d difference) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if next[name] == nil {
			d.Stops = append(d.Stops, change{Pipeline: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next)) {
		before, after := now[name], next[name]
		if before == nil {
			d.Starts = append(d.Starts, change{Pipeline: name, Promises: []string{after.promise.sentence()}})
			continue
		}
		changed := before.parts.Changed(after.parts)
		if len(changed) == 0 {
			d.Untouched = append(d.Untouched, name)
			continue
		}
		c := change{Pipeline: name, Because: changed}
		if was, is := before.promise.sentence(), after.promise.sentence(); was != is {
			c.Promises = []string{was + " -> " + is}
		}
		d.Restarts = append(d.Restarts, c)
	}
	return d
}

// sentence is what a pipeline guarantees, in short.
func (p promise) sentence() string {
	text := p.Guarantee + ", " + p.Order
	if p.Drops {
		text += "; what is refused is dropped"
	}
	return text
}

// empty reports whether nothing changes.
func (d difference) empty() bool { return len(d.Starts)+len(d.Stops)+len(d.Restarts) == 0 }

// summary is d in a line.
func (d difference) summary() string {
	var parts []string
	add := func(what string, all []change) {
		names := make([]string, len(all))
		for i, c := range all {
			names[i] = c.Pipeline
		}
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, ", "))
		}
	}
	add("starts", d.Starts)
	add("stops", d.Stops)
	add("restarts", d.Restarts)
	return strings.Join(append(parts, bridge.Plural(len(d.Untouched), "pipeline")+" untouched"), "; ")
}

// write prints d for people.
func (d difference) write(w io.Writer) {
	for _, kind := range []struct {
		done, planned string
		all           []change
	}{
		{"started", "would start", d.Starts},
		{"stopped", "would stop", d.Stops},
		{"restarted", "would restart", d.Restarts},
	} {
		for _, c := range kind.all {
			line := kind.planned + " " + c.Pipeline
			if d.Applied {
				line = kind.done + " " + c.Pipeline
			}
			if len(c.Because) > 0 {
				line += ": " + strings.Join(c.Because, ", ") + " changed"
			}
			fmt.Fprintln(w, line)
			for _, p := range c.Promises {
				fmt.Fprintf(w, "  %s\n", p)
			}
		}
	}
	for _, key := range d.Refused {
		fmt.Fprintf(w, "needs a restart: %s changed\n", key)
	}
	if len(d.Untouched) > 0 || d.empty() && d.Applied {
		fmt.Fprintln(w, bridge.Plural(len(d.Untouched), "pipeline")+" untouched")
	}
	for _, text := range d.Warnings {
		fmt.Fprintf(w, "warning: %s\n", text)
	}
	if d.Result != "" {
		fmt.Fprintln(w, d.Result)
	}
}
