package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// leftBehind says which pipelines go that leave something in the state, and which ones keep a
// buffer that nothing empties any more.
func (r *running) leftBehind(ctx context.Context, d difference, next map[string]*planned) (all []string) {
	all = r.kept(d, next)
	asks := len(d.Stops) > 0
	for _, c := range d.Restarts {
		asks = asks || r.plan[c.Pipeline].Buffer != nil && next[c.Pipeline].Buffer == nil
	}
	if r.state == nil || !asks {
		return all
	}
	entries, err := r.state.Entries(ctx, "")
	if err != nil {
		return append(all, fmt.Sprintf("what pipelines leave in the state is not known: %v", err))
	}
	for _, c := range d.Stops {
		if left := inState(entries, c.Pipeline); len(left) > 0 {
			all = append(all, fmt.Sprintf("pipeline %q leaves behind: %s; if it was renamed, "+
				"stop the bridge and take that along: xrtcbridge state rename %s NEW",
				c.Pipeline, strings.Join(left, ", "), c.Pipeline))
		}
	}
	for _, e := range entries {
		if next[e.Pipeline] != nil {
			all = append(all, forgotten(e, next)...)
		}
	}
	return all
}

// kept says what other systems go on keeping for pipelines that go, or read something else.
func (r *running) kept(d difference, next map[string]*planned) (all []string) {
	var out, in []*engine.Pipeline
	for _, c := range slices.Concat(d.Stops, d.Restarts) {
		out = append(out, r.plan[c.Pipeline].Pipeline)
	}
	for _, p := range next {
		in = append(in, p.Pipeline)
	}
	used, left := keeps(in), keeps(out)
	for _, what := range slices.Sorted(maps.Keys(left)) {
		mend := "xrtcbridge state reset " + left[what] + " --sessions --as NAME ends it, where NAME is a pipeline " +
			"with the same settings; or with a FILE as it was, without --as"
		if next[left[what]] != nil {
			mend = "when the bridge is stopped, xrtcbridge state reset " + left[what] +
				" --sessions ends it, with a FILE as it was"
		}
		if used[what] == "" {
			all = append(all, fmt.Sprintf("%s stays, and fills: %s", what, mend))
		}
	}
	return all
}

// forgotten says what waits in a buffer that no pipeline of the plan empties.
func forgotten(e store.Entry, plan map[string]*planned) []string {
	p := plan[e.Pipeline]
	if e.Kind != "buffer" || e.Size == 0 || p != nil && p.Buffer != nil {
		return nil
	}
	waits := bridge.Plural(e.Size, "message") + " wait"
	if e.Size == 1 {
		waits += "s"
	}
	if p == nil {
		return []string{fmt.Sprintf("%s in the buffer of %s, and no such pipeline runs: if it was renamed, stop the bridge "+
			"and xrtcbridge state rename %s NEW; xrtcbridge buffer export %s prints what waits",
			waits, e.Pipeline, e.Pipeline, e.Pipeline)}
	}
	return []string{fmt.Sprintf("%s in the buffer of %s, which has none now: put buffer: disk back until it is empty, "+
		"or xrtcbridge buffer export %s", waits, e.Pipeline, e.Pipeline)}
}

// patienceWithState is how long the start waits to hear what is left in the state.
const patienceWithState = 5 * time.Second

// warnOfForgotten logs what waits in buffers that are not emptied any more. It only looks, for a
// folder before the pipelines start: a bridge that does not need the state must not keep it from
// another one.
func warnOfForgotten(ctx context.Context, log *slog.Logger, set store.Settings, plan map[string]*planned) {
	if !set.MayHaveBufferOf(func(name string) bool { return plan[name] == nil || plan[name].Buffer == nil }) {
		return
	}
	until, cancel := context.WithTimeout(ctx, patienceWithState)
	defer cancel()
	look := store.Look(set, log, visit(set))
	defer func() { _ = look.Close() }()
	used, err := look.InUse(until)
	var entries []store.Entry
	if err == nil {
		entries, err = look.Entries(until, "")
	}
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "what waits in buffers that no pipeline empties is not known", "err", err)
	}
	for _, e := range entries {
		if plan[e.Pipeline] == nil && (used || set.NATS != nil) {
			continue // another bridge may empty it
		}
		for _, text := range forgotten(e, plan) {
			log.WarnContext(ctx, "a buffer is forgotten", "why", text)
		}
	}
}
