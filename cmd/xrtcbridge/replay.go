package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// replaying is a replay of dead letters.
type replaying struct {
	*engine.Pipeline
	std
	log   *slog.Logger
	state *store.Store
	flags *stateFlags
	store.Choice
	incomplete bool   // those that are not whole, too
	edit       editor // nil: as they were
}

// run runs pipelines from the dead letters through what their messages had before them in the
// pipeline when they were refused.
func (r *replaying) run(ctx context.Context) error {
	f, err := r.find(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	var delivered, failed, filtered uint64
	errs := []error{allThere(r.Name, f.letters, r.Choice)}
	edit := &editing{step: r.edit}
	for _, instance := range f.instances {
		letters, keep := r.state.Replay(store.Replay{
			Pipeline: r.Name, Instance: instance, Choice: r.Choice, Whole: !r.incomplete, Last: f.last,
			Edit: edit.letter,
		})
		places := keeping(r.Pipeline, keep).Places()
		at := slices.IndexFunc(places, func(p engine.Place) bool { return p.Instance == instance })
		if at < 0 {
			errs = append(errs, fmt.Errorf("the dead letters of %s stay: pipeline %q has no such place any more",
				instance, r.Name))
			continue
		}
		again := &engine.Pipeline{
			Name: r.Name + "-replay", // not the name of the pipeline, which a bridge may be running beside
			From: []bridge.Endpoint[bridge.Source]{letters}, Steps: places[at].Steps, To: places[at].To,
			OnError:     bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: keep(instance)},
			MaxInFlight: r.MaxInFlight, OrderBy: r.OrderBy, MaxBatch: r.MaxBatch, DrainTimeout: r.DrainTimeout,
		}
		errs = append(errs, again.Run(ctx, bridge.Env{Logger: r.log, Stdin: r.in, Stdout: r.data}, nil))
		l := again.Ledger()
		delivered, filtered = delivered+l.Delivered, filtered+l.Filtered
		failed += l.DeadLettered + l.Dropped + l.InFlight
	}
	leftOut := ""
	if filtered > 0 {
		leftOut = fmt.Sprintf(", %d left out by a step or condition", filtered)
	}
	fmt.Fprintf(r.err, "delivered %s, %d failed again%s\n", bridge.Plural(delivered, "dead letter"), failed, leftOut)
	hint := r.flags.command("dead list "+r.Name) + " shows why"
	if f.parts > 0 {
		errs = append(errs, fmt.Errorf("not whole, and kept: %s", bridge.Plural(f.parts, "dead letter")))
		hint += "; --incomplete delivers what there is of messages that are not whole"
	}
	errs = append(errs, edit.failed())
	if failed > 0 {
		numbers, err := r.renumbered(ctx, f.last, began)
		errs = append(errs, fmt.Errorf("could not be delivered again, and kept: %s%s",
			bridge.Plural(failed, "dead letter"), numbers), err)
	}
	if err := errors.Join(errs...); err != nil {
		return failure{code: exitFailed, err: err, hint: hint}
	}
	return nil
}

// renumbered says which numbers the letters have now that failed again.
func (r *replaying) renumbered(ctx context.Context, last uint64, began time.Time) (text string, err error) {
	const most = 10
	var numbers []string
	err = r.state.Letters(ctx, r.Name, func(l store.Letter) bool {
		if l.Number > last && l.First.Before(began) { // else it is none of those, but of a bridge that runs
			numbers = append(numbers, fmt.Sprint(l.Number))
		}
		return ctx.Err() == nil && len(numbers) <= most
	})
	if len(numbers) > most {
		numbers[most] = "…"
	}
	if len(numbers) > 0 {
		text = " by new numbers: " + strings.Join(numbers, ", ")
	}
	return text, err
}

// found is what there is to be replayed.
type found struct {
	letters   int
	parts     int      // letters that are not whole, and are left out
	instances []string // that refused the others, in their order
	last      uint64   // number of the last one: those that come meanwhile are not replayed
}

func (r *replaying) find(ctx context.Context) (f found, err error) {
	err = r.state.Letters(ctx, r.Name, func(l store.Letter) bool {
		f.last = l.Number
		if !r.Has(&l) {
			return ctx.Err() == nil
		}
		f.letters++
		switch {
		case l.Incomplete && !r.incomplete:
			f.parts++
		case !slices.Contains(f.instances, l.Instance):
			f.instances = append(f.instances, l.Instance)
		}
		return ctx.Err() == nil
	})
	return f, errors.Join(err, ctx.Err())
}

// keeping returns a copy of p in which every place keeps what it refuses as a dead letter of that
// place.
func keeping(p *engine.Pipeline, failed func(instance string) bridge.Endpoint[bridge.Sink]) *engine.Pipeline {
	q := &engine.Pipeline{Name: p.Name, From: p.From, Steps: slices.Clone(p.Steps), To: undropped(p.To), Buffer: p.Buffer}
	for _, place := range q.Places() {
		if place.OnError == nil {
			continue
		}
		tries := cmp.Or(*place.OnError, &p.OnError)
		*place.OnError = &bridge.OnError{
			Tries: max(1, tries.Tries), FirstWait: tries.FirstWait, LongestWait: tries.LongestWait,
			Then: bridge.FateDeadLetter, DeadLetter: failed(place.Instance),
		}
	}
	return q
}

// undropped returns a copy of a branch whose sinks refuse what they would leave out, so that its
// letter stays.
func undropped(b engine.Branch) engine.Branch {
	b.Steps, b.Branches = slices.Clone(b.Steps), slices.Clone(b.Branches)
	for i := range b.Branches {
		b.Branches[i] = undropped(b.Branches[i])
	}
	if open := b.Sink.Open; open != nil {
		b.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			sink, err := open(ctx, env)
			return undropping{sink}, err
		}
	}
	return b
}

type undropping struct{ bridge.Sink }

func (u undropping) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	res, err := u.Sink.Write(ctx, b)
	for _, i := range res.Omitted {
		res.Refused = append(res.Refused, bridge.Refusal{Index: i, Err: errors.New("the sink left it out, as configured")})
	}
	res.Omitted = nil
	slices.SortFunc(res.Refused, func(a, b bridge.Refusal) int { return a.Index - b.Index })
	return res, err
}
