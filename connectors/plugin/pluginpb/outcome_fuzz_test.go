package pluginpb_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// answered is a step in a plugin that answers anything at all.
type answered struct{ answer *pluginpb.ProcessResponse }

func (a answered) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	return a.answer.Replay(out, 0, len(b))
}

func (answered) Close() error { return nil }

// FuzzAnswer has a plugin answer anything: the engine gets an error, or each message is accounted
// for once.
func FuzzAnswer(f *testing.F) {
	const messages = 4
	wake := uint32(7)
	made, _ := pluginpb.NewBatch(bridge.Batch{{Topic: "t", Payload: []byte("x")}, {Topic: "u"}}, 1000)
	for _, answer := range []*pluginpb.ProcessResponse{
		{Origins: []uint32{1, 2, 3, 4}, Passed: []uint32{0, 1, 2, 3}},
		{Origins: []uint32{2, 2}, Batch: made, Dropped: []uint32{0, 2}, Held: []uint32{3}, Released: 1, WakeMs: &wake},
		{Origins: []uint32{0, 5}, Batch: made, Dropped: []uint32{9}},
		{Dropped: []uint32{0, 1, 1, 2, 3}},
		{Refused: []*pluginpb.Refusal{{Index: 1, Text: "no"}, {Index: 0}, nil}},
	} {
		wire, err := proto.Marshal(answer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var answer pluginpb.ProcessResponse
		if proto.Unmarshal(wire, &answer) != nil {
			return
		}
		in := make(bridge.Batch, messages)
		for i := range in {
			in[i].ID = string(rune('a' + i))
		}
		var runner bridge.StepRunner
		said, err := runner.Process(t.Context(), answered{&answer}, 1, in, false)
		if err != nil {
			return
		}
		told := make([]int, messages)
		for k := range said.Messages {
			if from := said.Origin(k); !from.More {
				told[from.Index]++
			} else if from.Index < -1 || from.Index >= messages {
				t.Fatalf("message %d comes from %d", k, from.Index)
			}
		}
		for _, i := range append(said.Dropped, said.Held...) {
			told[i]++
		}
		for _, r := range said.Refused {
			told[r.Index]++
		}
		for i, n := range told {
			if n != 1 {
				t.Fatalf("message %d is told of %d times", i, n)
			}
		}
	})
}
