package plugin

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

var update = flag.Bool("update", false,
	"write testdata/v1.txt anew; never do that for a version that has been released")

// transcript is a conversation in version 1 of the contract, byte by byte: lines of a call, > or <,
// and the message in hexadecimal digits. As long as it is understood, old plugins and old bridges
// are.
const transcript = "testdata/v1.txt"

// golden is the connector of the transcript.
func golden() bridge.Connector {
	type settings struct {
		Text string        `yaml:"text,required"`
		Wait time.Duration `yaml:"wait"`
	}
	return bridge.Connector{
		Name: "golden", Summary: "of the transcript", Example: "pipelines: {}\n",
		Source: bridge.NewOpener(settings{Wait: time.Second},
			func(_ context.Context, s *settings, env bridge.Env) (bridge.Source, error) {
				return &goldenSource{env: env, text: s.Text}, nil
			}),
		Sink: bridge.NewOpener(settings{}, func(_ context.Context, _ *settings, env bridge.Env) (bridge.Sink, error) {
			env.NeedID()
			return goldenSink{}, nil
		}),
		Step: bridge.NewOpener(stepSettings{}, func(context.Context, *stepSettings, bridge.Env) (bridge.Step,
			error,
		) {
			return goldenStep{}, nil
		}),
	}
}

type stepSettings struct {
	Text string `yaml:"text"`
	Wait string `yaml:"wait"`
}

func (stepSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "it holds"}, Holds: true}
}

type goldenSource struct {
	env  bridge.Env
	text string
	read bool
}

func (s *goldenSource) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if s.read {
		return nil, nil, io.EOF
	}
	s.read = true
	s.env.Dropped(3)
	s.env.Progress(7, 8)
	return bridge.Batch{
		{
			ID: "1", Topic: "t", Payload: []byte(s.text), Header: map[string]string{"k": "v"},
			Time: time.Unix(1_700_000_000, 5),
		},
		{Topic: "u", Payload: []byte{0, 255}},
	}, func(context.Context, error) error { return nil }, bridge.Refusals{{Index: 1, Err: errors.New("cut")}}
}

func (*goldenSource) Close() error { return nil }

type goldenSink struct{}

func (goldenSink) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	if len(b) == 3 {
		return bridge.Result{Settled: 3, Refused: bridge.Refusals{{Index: 1, Err: errors.New("odd")}}, Omitted: []int{2}}, nil
	}
	return bridge.Result{Settled: 1}, bridge.Permanent(io.ErrShortWrite)
}
func (goldenSink) Close() error { return nil }

type goldenStep struct{}

func (goldenStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	if out.Last() {
		out.Add(bridge.Message{Topic: "made"})
		out.Release(out.Call())
		return nil
	}
	out.Hold(0)
	out.Pass(1)
	out.Emit(1, bridge.Message{Topic: "copy"})
	out.Wake(1500 * time.Millisecond)
	if len(b) == 2 {
		return nil
	}
	out.Drop(2)
	out.Refuse(3, errors.New("even"))
	out.Emit(4, bridge.Message{Topic: "changed"})
	out.Wake(0)
	out.Release(out.Call() - 1)
	return nil
}
func (goldenStep) Close() error { return nil }

// requests is what the bridge says in the transcript.
func requests() []proto.Message {
	const settings = `{"text":"hello","wait":"1s"}`
	two := bridge.Batch{{Topic: "a", Payload: []byte("x")}, {Topic: "b", Payload: []byte("yz"), ID: "7"}}
	pack := func(b bridge.Batch) *pluginpb.Batch { p, _ := pluginpb.NewBatch(b, 1000); return p }
	open := func(role pluginpb.Role) proto.Message {
		return &pluginpb.OpenRequest{
			Connector: "golden", Role: role, Settings: settings, Pipeline: "p",
			Instance: "p-from", MaxBatch: 10, MaxBytes: 1 << 20, Checkpoint: []byte("c"),
		}
	}
	return []proto.Message{
		&pluginpb.DescribeRequest{},
		&pluginpb.CheckRequest{Connector: "golden", Role: pluginpb.Role_SOURCE, Settings: settings},
		&pluginpb.CheckRequest{Connector: "golden", Role: pluginpb.Role_SINK, Settings: `{"wait":"0s"}`},
		open(pluginpb.Role_SOURCE),
		&pluginpb.ReadRequest{Instance: 1, Call: 1},
		&pluginpb.AckRequest{Instance: 1, BatchId: 1},
		&pluginpb.AckRequest{Instance: 1, BatchId: 1, Error: &pluginpb.Error{Text: "again"}},
		&pluginpb.ReadRequest{Instance: 1, Call: 2},
		&pluginpb.NextCheckpointRequest{Instance: 1},
		&pluginpb.InterruptRequest{Instance: 1, Call: 2},
		&pluginpb.CloseRequest{Instance: 1},
		open(pluginpb.Role_SINK),
		&pluginpb.WriteRequest{Instance: 2, Call: 1, Batch: pack(two)},
		&pluginpb.WriteRequest{Instance: 2, Call: 2, Batch: pack(append(two, bridge.Message{}))},
		&pluginpb.CloseRequest{Instance: 2},
		open(pluginpb.Role_STEP),
		&pluginpb.ProcessRequest{Instance: 3, Call: 1, Batch: pack(two), Sequence: 5},
		&pluginpb.ProcessRequest{Instance: 3, Call: 2, Batch: pack(append(two, make(bridge.Batch, 3)...)), Sequence: 7},
		&pluginpb.ProcessRequest{Instance: 3, Call: 3, Sequence: 8, Last: true},
		&pluginpb.CloseRequest{Instance: 3},
		&pluginpb.HealthRequest{},
	}
}

// answer calls the method of the server that is for the request.
func answer(s *server, request proto.Message) (call string, response proto.Message, err error) {
	call = strings.TrimSuffix(string(request.ProtoReflect().Descriptor().Name()), "Request")
	results := reflect.ValueOf(s).MethodByName(call).Call(
		[]reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(request)})
	err, _ = reflect.TypeAssert[error](results[1])
	response, _ = reflect.TypeAssert[proto.Message](results[0])
	if d, ok := response.(*pluginpb.DescribeResponse); ok {
		d.Version = "" // it depends on how the test was built
	}
	return call, response, err
}

// An old bridge is answered as ever.
func TestGoldenTranscript(t *testing.T) {
	s := newServer(bridge.NewRegistry(golden()), slog.New(slog.DiscardHandler), pluginpb.DefaultLimit)
	if *update {
		var b strings.Builder
		for _, r := range requests() {
			call, response, err := answer(s, r)
			if err != nil {
				t.Fatalf("%s: %v", call, err)
			}
			fmt.Fprintf(&b, "%s > %s\n%s < %s\n", call, toHex(t, r), call, toHex(t, response))
		}
		if err := os.WriteFile(transcript, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s = newServer(bridge.NewRegistry(golden()), slog.New(slog.DiscardHandler), pluginpb.DefaultLimit)
	}
	f, err := os.Open(transcript)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known := requests()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	i := 0
	for ; lines.Scan(); i++ {
		if i == len(known) {
			t.Fatal("the transcript goes on")
		}
		call, text, _ := strings.Cut(lines.Text(), " > ")
		request := reflect.New(reflect.TypeOf(known[i]).Elem()).Interface().(proto.Message)
		fromHex(t, text, request)
		if !proto.Equal(request, known[i]) {
			t.Errorf("request %d, %s, is read as %v, and meant %v", i, call, request, known[i])
		}
		_, got, err := answer(s, request)
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		if !lines.Scan() {
			t.Fatal("the transcript ends within a call")
		}
		_, text, _ = strings.Cut(lines.Text(), " < ")
		want := reflect.New(reflect.TypeOf(got).Elem()).Interface().(proto.Message)
		fromHex(t, text, want)
		if !proto.Equal(got, want) {
			t.Errorf("%s is answered with %v, and was with %v", call, got, want)
		}
	}
	if err := lines.Err(); err != nil || i < len(known) {
		t.Fatalf("the transcript has %d of %d calls: %v", i, len(known), err)
	}
}

func toHex(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func fromHex(t *testing.T, text string, to proto.Message) {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
	if u := to.ProtoReflect().GetUnknown(); len(u) > 0 {
		t.Errorf("%T has fields that are not known any more: %x", to, u)
	}
}
