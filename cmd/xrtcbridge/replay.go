package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// replay runs pipelines from the dead letters through what their messages had before them in p when
// they were refused.
func replay(ctx context.Context, s std, state *store.Store, p *bridge.Pipeline, numbers []uint64) error {
	instances, last, err := refusing(ctx, state, p.Name, numbers)
	if err != nil {
		return err
	}
	var sum bridge.Ledger
	var errs []error
	for _, instance := range instances {
		letters, failed := state.Replay(store.Replay{Pipeline: p.Name, Instance: instance, Numbers: numbers, Last: last})
		steps, to, ok := keeping(p, failed).Rest(instance)
		if !ok {
			errs = append(errs, fmt.Errorf("the dead letters of %s stay: pipeline %q has no such place any more", instance, p.Name))
			continue
		}
		again := &bridge.Pipeline{
			Name: p.Name + "-replay", // not the name of p, which a bridge may be running beside
			From: []bridge.Endpoint[bridge.Source]{letters}, Steps: steps, To: to,
			OnError:     bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: failed(instance)},
			MaxInFlight: p.MaxInFlight, OrderBy: p.OrderBy, MaxBatch: p.MaxBatch, DrainTimeout: p.DrainTimeout,
		}
		errs = append(errs, again.Run(ctx, bridge.Env{Logger: s.warnings(), Stdin: s.in, Stdout: s.out}, nil))
		sum.Add(again.Ledger())
	}
	failed := sum.DeadLettered + sum.Dropped + sum.InFlight
	filtered := ""
	if sum.Filtered > 0 {
		filtered = fmt.Sprintf(", %d were left out by a step or condition", sum.Filtered)
	}
	fmt.Fprintf(s.err, "delivered %d dead letters, %d failed again%s\n", sum.Delivered, failed, filtered)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if failed > 0 {
		return failure{code: exitFailed, err: fmt.Errorf("%d dead letters could not be delivered again, and are kept", failed), hint: "xrtcbridge dead list " + p.Name + " shows why"}
	}
	return nil
}

// refusing returns the instances that refused the messages, in the order of the letters, and the
// number of the last one: those that come meanwhile are not replayed.
func refusing(ctx context.Context, state *store.Store, pipeline string, numbers []uint64) (instances []string, last uint64, err error) {
	err = state.Letters(ctx, pipeline, func(l store.Letter) bool {
		if (len(numbers) == 0 || slices.Contains(numbers, l.Number)) && !slices.Contains(instances, l.Instance) {
			instances = append(instances, l.Instance)
		}
		last = l.Number
		return ctx.Err() == nil
	})
	return instances, last, errors.Join(err, ctx.Err())
}

// keeping returns a copy of p in which every place keeps what it refuses as a dead letter of that
// place.
func keeping(p *bridge.Pipeline, failed func(instance string) bridge.Endpoint[bridge.Sink]) *bridge.Pipeline {
	q := &bridge.Pipeline{Name: p.Name, From: p.From, Steps: slices.Clone(p.Steps), To: undropped(p.To), Buffer: p.Buffer}
	for instance, own := range q.Places() {
		tries := cmp.Or(*own, &p.OnError)
		*own = &bridge.OnError{
			Tries: max(1, tries.Tries), FirstWait: tries.FirstWait, LongestWait: tries.LongestWait,
			Then: bridge.FateDeadLetter, DeadLetter: failed(instance),
		}
	}
	return q
}

// undropped returns a copy of a branch whose sinks refuse what they would leave out, so that its
// letter stays.
func undropped(b bridge.Branch) bridge.Branch {
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
