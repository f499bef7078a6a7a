package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// saying is a step that is nothing but its Process.
type saying func(b bridge.Batch, out *bridge.Output)

func (s saying) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	s(b, out)
	return nil
}

func (saying) Close() error { return nil }

func lettered(n int) bridge.Batch {
	b := make(bridge.Batch, n)
	for i := range b {
		b[i].ID = string(rune('a' + i))
	}
	return b
}

// What a step said is told with the origin of each message, and what it refused is in the batch as
// it was, though the memory of the batch is used again.
func TestOutcomeHasOriginsAndRefused(t *testing.T) {
	b := lettered(7)
	r := bridge.StepRunner{Tag: "~"}
	said, err := r.Process(t.Context(), saying(func(_ bridge.Batch, out *bridge.Output) {
		out.Pass(0)
		out.Drop(1)
		out.Pass(2)
		out.Emit(2, bridge.Message{})
		out.Refuse(3, errors.New("bad"))
		out.Emit(4, bridge.Message{Topic: "other"})
		out.Pass(6)
		out.Hold(5)
		out.Add(bridge.Message{ID: "not its own"})
	}), 9, b, false)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(said.Origins, said.Dropped, said.Held, said.Released)
	for _, m := range said.Messages {
		got += " " + m.ID + m.Topic
	}
	got += fmt.Sprint(" refused ", b[said.Refused[0].Index].ID)
	want := "[{0 true false} {2 true false} {2 false true} {4 false false} {6 true false} {-1 false true}] [1] " +
		"[5] 8 a c c~1 eother g  refused d"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A step that passes all in order costs no memory, and its outcome says no more than that.
func TestPassingAllocatesNothing(t *testing.T) {
	b, step := lettered(20), saying(func(b bridge.Batch, out *bridge.Output) {
		for i := range b {
			out.Pass(i)
		}
	})
	var r bridge.StepRunner
	if n := testing.AllocsPerRun(100, func() {
		if said, err := r.Process(t.Context(), step, 1, b, false); err != nil || &said.Messages[0] != &b[0] ||
			len(said.Origins) > 0 {
			t.Errorf("%v, %v", said, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
