package host_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// old answers as the plugin of a transcript did, call by call.
type old struct {
	plugin.NetRPCUnsupportedPlugin
	pluginpb.UnimplementedConnectorServer
	mu      sync.Mutex // guards answers
	answers map[string][]string
}

// replay serves a transcript, in place of the connectors of this binary.
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
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: pluginpb.Handshake(),
		Plugins:         plugin.PluginSet{"connector": o},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
	os.Exit(0)
}

func (o *old) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pluginpb.RegisterConnectorServer(s, o)
	return nil
}

func (o *old) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin")
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

func (o *old) Health(context.Context, *pluginpb.HealthRequest) (*pluginpb.HealthResponse, error) {
	return new(pluginpb.HealthResponse), nil
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
		err := o.(bridge.Checker).Check(t.Context(), settings)
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
	source, err := c.Source.Open(t.Context(), c.Source.Settings(), env)
	if err != nil {
		t.Fatal(err)
	}
	b, ack, err := source.Read(t.Context())
	if err != nil || len(b) != 2 || dropped != 3 {
		t.Fatalf("read: %v, %v, dropped %d", b, err, dropped)
	}
	if m := b[0]; m.ID != "1" || m.Topic != "t" || string(m.Payload) != "hello" || m.Header["k"] != "v" || m.Time.UnixNano() != 1_700_000_000_000_000_005 {
		t.Errorf("the first message is %v", m)
	}
	if m := b[1]; m.ID != "" || m.Topic != "u" || !bytes.Equal(m.Payload, []byte{0, 255}) || m.Header != nil || !m.Time.IsZero() {
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

	sink, err := c.Sink.Open(t.Context(), c.Sink.Settings(), bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	if !sink.(bridge.Identifying).NeedsID() {
		t.Error("the sink needs no id")
	}
	if n, err := sink.Write(t.Context(), b); n != 1 || !bridge.IsPermanent(err) || err.Error() != "short write" {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}

	step, err := c.Step.Open(t.Context(), c.Step.Settings(), bridgetest.Env(t, "test-steps"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := step.Process(t.Context(), b); err != nil || len(b) != 1 || b[0].ID != "7" {
		t.Errorf("process: %v, %v", b, err)
	}
}
