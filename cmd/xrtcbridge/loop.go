package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// hop is a way from one pipeline into another one: what a sink of it writes, a source of that
// reads.
type hop struct {
	from, to int // pipelines
	steps    []bridge.Endpoint[bridge.Step]
	write    bridge.Traffic
	read     bridge.Traffic
}

const loopWarning = "messages may run in circles"

// loops returns for each pipeline in which circle messages may run through it, empty if in none:
// one that its files show, and that no origin step ends. Of most topics it is known what they begin
// with, so that this may warn of what never happens; it is silent about systems under two
// addresses, and about plugins.
func loops(pipelines []*engine.Pipeline) []string {
	hops := allHops(pipelines)
	circles := make([]string, len(pipelines))
	for start := range pipelines {
		if way := circle(hops, start, len(pipelines)); way != nil && !guarded(way) {
			circles[start] = describe(pipelines, way)
		}
	}
	return circles
}

func allHops(pipelines []*engine.Pipeline) []hop {
	var hops []hop
	for i, a := range pipelines {
		for j, b := range pipelines {
			for _, l := range leaves(a) {
				for _, source := range b.From {
					if meet(a.From, l.Sink.Traffic, source.Traffic) {
						hops = append(hops, hop{i, j, l.way, l.Sink.Traffic, source.Traffic})
					}
				}
			}
		}
	}
	return hops
}

// meet reports whether what comes from the sources and is written may be read.
func meet(from []bridge.Endpoint[bridge.Source], write, read bridge.Traffic) bool {
	if write.Link != "" && write.Link == read.Link || write.Topic == nil ||
		write.System == "" || loopback.Replace(write.System) != loopback.Replace(read.System) {
		return false
	}
	_, whole := write.Topic.Constant()
	return slices.ContainsFunc(append(written(from, write.Topic), write.Besides...), func(w string) bool {
		if read.Reads != nil {
			return read.Reads(w, whole)
		}
		return slices.ContainsFunc(read.Topics, func(r string) bool {
			return strings.HasPrefix(w, r) || strings.HasPrefix(r, w)
		})
	})
}

// written returns what the topics of what is written begin with.
func written(from []bridge.Endpoint[bridge.Source], topic bridge.Template) []string {
	var begins []string
	for _, source := range from {
		read := source.Traffic.Topics
		if len(read) == 0 {
			read = []string{""}
		}
		for _, r := range read {
			begins = append(begins, topic.Prefix(r))
		}
	}
	return begins
}

// loopback are names of this machine.
var loopback = strings.NewReplacer("localhost", "127.0.0.1", "[::1]", "127.0.0.1")

// circle returns the shortest way from start to start, nil if there is none.
func circle(hops []hop, start, pipelines int) []hop {
	seen := make([]bool, pipelines)
	ways := [][]hop{nil}
	for at := []int{start}; len(at) > 0; at, ways = at[1:], ways[1:] {
		for _, h := range hops {
			if h.from != at[0] {
				continue
			}
			way := append(slices.Clone(ways[0]), h)
			if h.to == start {
				return way
			}
			if !seen[h.to] {
				seen[h.to] = true
				at, ways = append(at, h.to), append(ways, way)
			}
		}
	}
	return nil
}

// guarded reports whether an origin step ends the loop: one is in it, and its mark survives
// everywhere.
func guarded(way []hop) bool {
	marked := false
	for _, h := range way {
		if !h.write.Headers || !h.read.Headers {
			return false
		}
		marked = marked || slices.ContainsFunc(h.steps,
			func(s bridge.Endpoint[bridge.Step]) bool { return s.Type == "origin" })
	}
	return marked
}

func describe(pipelines []*engine.Pipeline, way []hop) string {
	var names, bare, apart, cures []string
	for _, h := range way {
		names = append(names, pipelines[h.from].Name)
		if !h.write.Headers || !h.read.Headers {
			bare = append(bare, h.write.System)
			apart = append(apart, cmp.Or(h.write.Apart, "a prefix for each direction"))
			cures = append(cures, h.write.HeadersBy, h.read.HeadersBy)
		}
	}
	names = append(names, pipelines[way[0].from].Name)
	text := fmt.Sprintf("%s (%s)", strings.Join(names, " → "), way[0].write.System)
	if len(bare) > 0 {
		for _, list := range [][]string{bare, apart, cures} {
			slices.Sort(list)
		}
		text += "; no headers on " + strings.Join(slices.Compact(bare), ", ") +
			", so that topics must keep apart what is read and what is written: " + strings.Join(slices.Compact(apart), ", or ")
		if cures[0] != "" { // each end has one
			text += "; or " + strings.Join(slices.Compact(cures), ", ") +
				" at both ends, and a step origin: NAME in each direction"
		}
		if by := way[0].write.LinkBy; by != "" {
			text += "; or " + by + " at the source and the sink of each broker"
		}
		return text
	}
	return text + "; a step origin: NAME in each direction ends that"
}
