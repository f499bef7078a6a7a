package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// step is an instance of a step.
type step struct {
	*world
	*spot
	process int
	held    []heldMessage
	real    bridge.Step // nil: it does so itself
	runner  bridge.StepRunner
}

type heldMessage struct {
	id   string
	call uint64
	at   time.Time
}

func (w *world) openStep(p *spot) func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
	return func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
		real, err := openReal(ctx, p.step.Real, env)
		if err != nil {
			return nil, bridge.Permanent(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if env.Instance != p.name {
			w.wrong("the step %s is called %s", p.name, env.Instance)
		}
		return &step{world: w, spot: p, process: w.process, real: real}, nil
	}
}

func (s *step) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	said, of, err := s.ask(ctx, b, out)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != s.world.process {
		return errPlanned
	}
	n := s.calls
	s.calls++
	if slices.Contains(s.step.Errors, n) {
		s.blame(b)
		if s.step.Panic && n == s.step.Errors[len(s.step.Errors)-1] {
			panic("as planned")
		}
		return errPlanned
	}
	for i := range b {
		if id := string(b[i].Payload); s.poisons(s.spot, id) && (s.Tries > 0 || s.poisoned[id] < 3) {
			s.poisoned[id]++
			s.blame(b)
			if hash(id)%2 == 0 {
				panic("as planned")
			}
			return errPlanned
		}
	}
	s.note("step", s.name, len(b), out.Last())
	if said != nil {
		s.repeat(b, out, said, of)
		return nil
	}
	for i := range b {
		id := string(b[i].Payload)
		switch {
		case s.leavesOut(i, id, out):
		case s.step.Window > 0:
			out.Hold(i)
			s.held = append(s.held, heldMessage{id, out.Call(), time.Now()})
			if len(s.held) >= s.step.Window {
				s.letGo(out, len(s.held))
			}
		case s.splits(id):
			for k := range 3 {
				out.Emit(i, message(fmt.Sprintf("%s.%d", id, k)))
			}
		default:
			out.Pass(i)
		}
	}
	switch {
	case out.Last():
		s.letGo(out, len(s.held))
	case s.step.Period > 0 && len(s.held) > 0:
		period := time.Duration(s.step.Period) * time.Millisecond
		if age := time.Since(s.held[0].at); age >= period {
			s.letGo(out, len(s.held))
		} else {
			out.Wake(period - age)
		}
	}
	return nil
}

// blame notes that the step fails with a batch, if that says who is to blame.
func (s *step) blame(b bridge.Batch) {
	if len(b) == 1 && len(s.held) == 0 {
		s.failed[string(b[0].Payload)]++
	}
}

// poisons reports whether a message is one at which the step fails.
func (w *world) poisons(s *spot, id string) bool {
	return chance(w.Seed, s.name, "poison", id, s.step.Poison)
}

// leavesOut drops or refuses message i if that is planned.
func (s *step) leavesOut(i int, id string, out *bridge.Output) bool {
	switch {
	case chance(s.Seed, s.name, "drop", id, s.step.Drop):
		out.Drop(i)
	case chance(s.Seed, s.name, "refuse", id, s.step.Refuse):
		out.Refuse(i, errPlanned)
	default:
		return false
	}
	return true
}

func message(id string) bridge.Message { return bridge.Message{Topic: id, Payload: []byte(id)} }

func (s *step) splits(id string) bool {
	return strings.Count(id, ".") < 3 && chance(s.Seed, s.name, "split", id, s.step.Split)
}

// letGo lets go of the first n messages that are held.
func (s *step) letGo(out *bridge.Output, n int) {
	if n == 0 {
		return
	}
	front := s.held[:n]
	s.held = s.held[n:]
	if s.step.Keep {
		for _, h := range front {
			out.Add(message("d(" + h.id + ")"))
			s.makes("d("+h.id+")", h.id)
		}
	} else {
		ids := make([]string, n)
		for i, h := range front {
			ids[i] = h.id
		}
		id := "w(" + strings.Join(ids, ",") + ")"
		out.Add(message(id))
		s.makes(id, ids...)
	}
	out.Release(front[n-1].call)
	if len(s.held) > 0 && s.held[0].call == front[n-1].call {
		panic("it holds the rest of a call whose front it has let go of") // windows end with a message
	}
}

func (s *step) makes(id string, of ...string) {
	if s.process != s.world.process {
		return
	}
	for _, o := range of {
		s.made[o] = append(s.made[o], id)
	}
	s.madeNow = append(s.madeNow, id)
}

func (s *step) Close() error {
	if s.real != nil {
		return s.real.Close()
	}
	return nil
}
