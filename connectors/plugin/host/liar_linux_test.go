package host_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// lies are answers that make no sense, of a source, a sink that got two messages, or a step that
// got two.
var lies = map[string]struct {
	want   string
	answer any
}{
	"a batch without its payloads": {
		"payloads end too early",
		&pluginpb.ReadResponse{Batch: &pluginpb.Batch{PayloadSizes: []uint32{1}}},
	},
	"a batch with too few topics": {"topics has 1 entries for 2 messages", &pluginpb.ReadResponse{Batch: &pluginpb.Batch{
		PayloadSizes: []uint32{0, 0}, Topics: []uint32{0},
	}}},
	"a batch of names it has not": {"header name 7 of 0 names", &pluginpb.ReadResponse{Batch: &pluginpb.Batch{
		PayloadSizes: []uint32{0}, HeaderCounts: []uint32{1}, HeaderNames: []uint32{7}, HeaderValueSizes: []uint32{0},
	}}},
	"a batch of too many": {
		"a batch has 257 messages, where 256 are allowed",
		&pluginpb.ReadResponse{Batch: &pluginpb.Batch{PayloadSizes: make([]uint32, 257)}},
	},
	"a batch of too many bytes": {
		"an answer is larger than it may be",
		&pluginpb.ReadResponse{Batch: &pluginpb.Batch{Payloads: make([]byte, 2<<20)}},
	},
	"what it has not, refused": {
		"it refuses message 3 of 0",
		&pluginpb.ReadResponse{Refused: []*pluginpb.Refusal{{Index: 3}}},
	},
	"no protocol buffer": {"failed to unmarshal", new(pluginpb.ReadResponse)},
	"more settled":       {"it settled 3 of 2 messages", &pluginpb.WriteResponse{Settled: 3}},
	"nothing settled":    {"it settled 0 of 2 messages and does not say why", &pluginpb.WriteResponse{}},
	"others left out": {
		"it leaves out message 1 of 1",
		&pluginpb.WriteResponse{Settled: 1, Omitted: []uint32{1}},
	},
	"origins of nothing": {
		"it names 2 messages that go on, and has 0",
		&pluginpb.ProcessResponse{Origins: []uint32{1, 2}},
	},
	"more dropped": {"it speaks of message 2 of 2", &pluginpb.ProcessResponse{Dropped: []uint32{0, 2}}},
}

type liar struct {
	deaf
	answer any
}

// serveLies serves a plugin that says nothing but one lie.
func serveLies(name string) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: pluginpb.Handshake(),
		Plugins:         plugin.PluginSet{"connector": &service{self: &liar{answer: lies[name].answer}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.ForceServerCodec(mumbling{proto: name != "no protocol buffer"}))...)
		},
	})
	os.Exit(0)
}

// mumbling is the codec of gRPC, or, for what is read, none.
type mumbling struct{ proto bool }

var _ encoding.Codec = mumbling{}

func (m mumbling) Marshal(v any) ([]byte, error) {
	if _, read := v.(*pluginpb.ReadResponse); read && !m.proto {
		return []byte("\xff\xff\xff\xff"), nil
	}
	return proto.Marshal(v.(proto.Message))
}

func (mumbling) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }

func (mumbling) Name() string { return "proto" }

func (*liar) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	role := new(pluginpb.RoleInfo)
	return &pluginpb.DescribeResponse{Connectors: []*pluginpb.ConnectorInfo{{
		Name: "liar", Source: role, Sink: role,
		Step: role,
	}}}, nil
}

func (*liar) Interrupt(context.Context, *pluginpb.InterruptRequest) (*pluginpb.InterruptResponse, error) {
	return new(pluginpb.InterruptResponse), nil
}

func (l *liar) Read(context.Context, *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) {
	return l.answer.(*pluginpb.ReadResponse), nil
}

func (l *liar) Write(context.Context, *pluginpb.WriteRequest) (*pluginpb.WriteResponse, error) {
	return l.answer.(*pluginpb.WriteResponse), nil
}

func (l *liar) Process(context.Context, *pluginpb.ProcessRequest) (*pluginpb.ProcessResponse, error) {
	return l.answer.(*pluginpb.ProcessResponse), nil
}

// S41: a plugin whose answers make no sense is ended and started again like one that crashes, and
// no more often.
func TestS41AnswersThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plugintest.Load(t, host.Settings{
				Env:    []string{"PROBE=liar:" + name},
				Limits: host.Limits{Crashes: 3, Message: 64 << 10},
			})
			c := named(t, p, "liar")
			use := func() error {
				switch lie.answer.(type) {
				case *pluginpb.ReadResponse:
					source, err := c.Source.Open(t.Context(), c.Source.Settings(), bridgetest.Env(t, "test-from"))
					if err != nil {
						return err
					}
					defer source.Close()
					_, _, err = source.Read(t.Context())
					return err
				case *pluginpb.WriteResponse:
					sink, err := c.Sink.Open(t.Context(), c.Sink.Settings(), bridgetest.Env(t, "test-to"))
					if err != nil {
						return err
					}
					defer sink.Close()
					r, err := sink.Write(t.Context(), bridge.Batch{message(0, 16, 0), message(1, 16, 0)})
					if r.Settled > 0 {
						t.Errorf("settled %+v", r)
					}
					return err
				}
				step, err := c.Step.Open(t.Context(), c.Step.Settings(), bridgetest.Env(t, "test-step"))
				if err != nil {
					return err
				}
				defer step.Close()
				var r bridge.StepRunner
				_, err = r.Process(t.Context(), step, 1, bridge.Batch{message(0, 16, 0), message(1, 16, 0)}, false)
				return err
			}
			times := 0
			var err error
			for ; times < 10; times++ {
				if err = use(); err == nil || !strings.Contains(err.Error(), lie.want) {
					t.Fatalf("got %v, want %q", err, lie.want)
				}
				if bridge.IsPermanent(err) {
					break
				}
			}
			if !strings.Contains(err.Error(), "crashed 3 times within a minute and is left alone until that minute is over") {
				t.Errorf("after %d times: %v", times, err)
			}
		})
	}
}
