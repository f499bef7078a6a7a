package host_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// service is a plugin that is not made with the SDK.
type service struct {
	plugin.NetRPCUnsupportedPlugin
	pluginpb.UnimplementedConnectorServer
	self pluginpb.ConnectorServer
}

func (s *service) GRPCServer(_ *plugin.GRPCBroker, to *grpc.Server) error {
	pluginpb.RegisterConnectorServer(to, s.self)
	return nil
}

func (*service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin")
}

func (*service) Health(context.Context, *pluginpb.HealthRequest) (*pluginpb.HealthResponse, error) {
	return new(pluginpb.HealthResponse), nil
}

// serve serves it, in place of the connectors of this binary.
func serve(s pluginpb.ConnectorServer) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: pluginpb.Handshake(),
		Plugins:         plugin.PluginSet{"connector": &service{self: s}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
	os.Exit(0)
}

// old answers as the plugin of a transcript did, call by call.
type old struct {
	service
	mu      sync.Mutex // guards answers
	answers map[string][]string
}

// replay serves a transcript.
func replay(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	o := &old{answers: make(map[string][]string)}
	for line := range strings.Lines(string(text)) {
		if call, answer, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " < "); ok {
			o.answers[call] = append(o.answers[call], answer)
		}
	}
	serve(o)
}

// next takes the next answer to a call.
func next[T proto.Message](o *old, call string, to T) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.answers[call]) == 0 {
		return to, errors.New("the transcript has no more answers to " + call)
	}
	text := o.answers[call][0]
	o.answers[call] = o.answers[call][1:]
	b, err := hex.DecodeString(text)
	if err != nil {
		return to, err
	}
	return to, proto.Unmarshal(b, to)
}

func (o *old) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	return next(o, "Describe", new(pluginpb.DescribeResponse))
}

func (o *old) Check(context.Context, *pluginpb.CheckRequest) (*pluginpb.CheckResponse, error) {
	return next(o, "Check", new(pluginpb.CheckResponse))
}

func (o *old) Open(context.Context, *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return next(o, "Open", new(pluginpb.OpenResponse))
}

func (o *old) Read(context.Context, *pluginpb.ReadRequest) (*pluginpb.ReadResponse, error) {
	return next(o, "Read", new(pluginpb.ReadResponse))
}

func (o *old) Ack(context.Context, *pluginpb.AckRequest) (*pluginpb.AckResponse, error) {
	return next(o, "Ack", new(pluginpb.AckResponse))
}

func (o *old) Write(context.Context, *pluginpb.WriteRequest) (*pluginpb.WriteResponse, error) {
	return next(o, "Write", new(pluginpb.WriteResponse))
}

func (o *old) Process(context.Context, *pluginpb.ProcessRequest) (*pluginpb.ProcessResponse, error) {
	return next(o, "Process", new(pluginpb.ProcessResponse))
}

func (o *old) Close(context.Context, *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	return next(o, "Close", new(pluginpb.CloseResponse))
}

// An old plugin is understood as ever.
func TestGoldenTranscript(t *testing.T) {
	path, err := filepath.Abs("../testdata/v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	c := named(t, plugintest.Load(t, host.Settings{Env: []string{"PROBE=replay:" + path}}), "golden")
	check := func(o any, settings any, want string) {
		t.Helper()
		err := o.(interface {
			Check(ctx context.Context, settings any) error
		}).Check(t.Context(), settings)
		if got := ""; err != nil || want != "" {
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("check: %q, want %q", got, want)
			}
		}
	}
	check(c.Source, c.Source.Settings(), "")
	check(c.Sink, c.Sink.Settings(), "the key text is missing; it must be a text")

	dropped := 0
	env := bridgetest.Env(t, "test-from")
	env.Dropped = func(n int) { dropped += n }
	var progress [2]int64
	env.Progress = func(done, total int64) { progress = [2]int64{done, total} }
	source, err := c.Source.Open(t.Context(), c.Source.Settings(), env)
	if err != nil {
		t.Fatal(err)
	}
	b, ack, err := source.Read(t.Context())
	refused, _ := err.(bridge.Refusals)
	if len(b) != 2 || dropped != 3 || progress != [2]int64{7, 8} || len(refused) != 1 || refused[0].Index != 1 ||
		refused[0].Err.Error() != "cut" {
		t.Fatalf("read: %v, %v, dropped %d, progress %d", b, err, dropped, progress)
	}
	if m := b[0]; m.ID != "1" || m.Topic != "t" || string(m.Payload) != "hello" || m.Header["k"] != "v" ||
		m.Time.UnixNano() != 1_700_000_000_000_000_005 {
		t.Errorf("the first message is %v", m)
	}
	if m := b[1]; m.ID != "" || m.Topic != "u" || !bytes.Equal(m.Payload, []byte{0, 255}) || m.Header != nil ||
		!m.Time.IsZero() {
		t.Errorf("the second message is %v", m)
	}
	if err := ack(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, _, err := source.Read(t.Context()); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}

	env = bridgetest.Env(t, "test-to")
	needsID := false
	env.NeedID = func() { needsID = true }
	sink, err := c.Sink.Open(t.Context(), c.Sink.Settings(), env)
	if err != nil || !needsID {
		t.Fatalf("open: %v, needs an id: %t", err, needsID)
	}
	if r, err := sink.Write(t.Context(), b); r.Settled != 1 || r.Refused != nil || r.Omitted != nil ||
		!bridge.IsPermanent(err) || err.Error() != "short write" {
		t.Errorf("write: %+v, %v", r, err)
	}
	r, err := sink.Write(t.Context(), append(b, bridge.Message{}))
	if err != nil || r.Settled != 3 || fmt.Sprint(r.Refused, r.Omitted) != "odd [2]" || r.Refused[0].Index != 1 {
		t.Errorf("write: %+v, %v", r, err)
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}

	if d := config.Describe(c.Step, c.Step.Settings()); !d.Holds || d.Guarantee.Level != bridge.LevelAtLeastOnce ||
		d.Guarantee.Why != "it holds" {
		t.Errorf("the step is %+v", d)
	}
	step, err := c.Step.Open(t.Context(), c.Step.Settings(), bridgetest.Env(t, "test-step"))
	if err != nil {
		t.Fatal(err)
	}
	var runner bridge.StepRunner
	for _, call := range []struct {
		number uint64
		batch  bridge.Batch
		want   string
	}{
		{5, slices.Clone(b), "on [{1 true false} {1 false true}] dropped [] held [0] refused [] released 4 wake " +
			"1.5s: u copy"},
		{
			7, append(slices.Clone(b), make(bridge.Batch, 3)...),
			"on [{1 true false} {1 false true} {4 false false}] dropped [2] held [0] refused [{3 even}] " +
				"released 6 wake 0s: u copy changed",
		},
		{8, nil, "on [{-1 false true}] dropped [] held [] refused [] released 8 wake 0s: made"},
	} {
		said, err := runner.Process(t.Context(), step, call.number, call.batch, call.batch == nil)
		if err != nil {
			t.Fatalf("process: %v", err)
		}
		got := fmt.Sprintf("on %v dropped %d held %d refused %v released %d wake %s:", said.Origins, said.Dropped, said.Held,
			[]bridge.Refusal(said.Refused), said.Released, said.Wake)
		for _, m := range said.Messages {
			got += " " + m.Topic
		}
		if got != call.want {
			t.Errorf("call %d: %s\nwant %s", call.number, got, call.want)
		}
	}
	if err := step.Close(); err != nil {
		t.Error(err)
	}
}
