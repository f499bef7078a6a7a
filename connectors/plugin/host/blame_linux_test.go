package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// Issue 11: messages at which a plugin fails or loses its life are refused after their tries,
// though these are more than crashes are allowed, and all others are delivered.
func TestMessagesThatKillThePlugin(t *testing.T) {
	for where, word := range map[string]string{"step": "pass", "sink": "note", "holding step": "hold"} {
		for _, how := range []string{"exit", "kill", "hang", "fail", "panic"} {
			t.Run(where+" "+how, func(t *testing.T) {
				t.Parallel()
				limits, tries, n := host.Limits{Crashes: 2}, 4, 40
				if how == "hang" {
					limits.Call, tries, n = 5*time.Second, 1, 7 // and as many of grace
				}
				var sent []bridge.Message
				good, bad := make(map[string]bool), make(map[string]bool)
				for i := range n {
					payload, set := fmt.Sprint(word, " ", i), good
					if i == 5 || i == 29 {
						payload, set = how+" "+payload, bad
					}
					set[payload] = true
					sent = append(sent, bridge.Message{Topic: "t", Payload: []byte(payload)})
				}
				plugin := plugintest.Load(t, host.Settings{Limits: limits})
				c, out := named(t, plugin, "probe"), filepath.Join(t.TempDir(), "out")
				up, down, dead := new(bridgetest.Upstream), new(bridgetest.Downstream), new(bridgetest.Downstream)
				up.Send(sent...)
				up.Finish()
				p := &engine.Pipeline{
					Name: "test", From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, To: engine.To(down.Endpoint()),
					OnError: bridge.OnError{
						Tries: tries, FirstWait: time.Millisecond, LongestWait: 10 * time.Millisecond,
						Then: bridge.FateDeadLetter, DeadLetter: dead.Endpoint(),
					},
				}
				if where == "sink" {
					p.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
						return c.Sink.Open(ctx, &sinkSettings{Obeys: true, Path: out}, env)
					}
				} else {
					p.Steps = []bridge.Endpoint[bridge.Step]{{
						Type: "probe", Open: func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
							return c.Step.Open(ctx, &stepSettings{}, env)
						},
					}}
				}
				env := bridge.Env{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
				if err := p.Run(t.Context(), env, nil); err != nil {
					t.Fatal(err)
				}
				if got := len(up.Acked()); got != n {
					t.Errorf("%d of %d were acknowledged", got, n)
				}
				refused := make(map[string]bool)
				for _, m := range dead.Got() {
					var l bridge.DeadLetter
					if err := l.UnmarshalJSON(m.Payload); err != nil {
						t.Fatal(err)
					}
					if l.Attempts != tries {
						t.Errorf("%d attempts, want %d", l.Attempts, tries)
					}
					refused[string(l.Payload)] = true
				}
				if diff := cmp.Diff(bad, refused); diff != "" {
					t.Errorf("refused (-want +got):\n%s", diff)
				}
				delivered := make(map[string]bool)
				for _, m := range down.Got() {
					delivered[string(m.Payload)] = true
				}
				switch where {
				case "sink":
					text, err := os.ReadFile(out)
					if err != nil {
						t.Fatal(err)
					}
					for line := range strings.Lines(string(text)) {
						delivered[strings.TrimSpace(line)] = true
					}
				case "holding step": // of what it holds it makes one message
					if l := p.Ledger(); l.Merged != uint64(len(good)) || !delivered["last"] {
						t.Errorf("the ledger is %+v, want %d merged", l, len(good))
					}
					return
				}
				if diff := cmp.Diff(good, delivered); diff != "" {
					t.Errorf("delivered (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// A message is not blamed for what another one does at that time, that another pipeline has given
// to the same process.
func TestMessagesThatKillAPluginOfTwo(t *testing.T) {
	for _, where := range []string{"step", "sink"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			c := named(t, plugintest.Load(t, host.Settings{Limits: host.Limits{Crashes: 2}}), "probe")
			var both sync.WaitGroup
			for name, payloads := range map[string][]string{
				"innocent": {"slow pass 1", "slow pass 2", "slow pass 3"},
				"guilty":   {"kill 1", "pass 2", "kill 3", "kill 4", "pass 5"},
			} {
				up, down, dead := new(bridgetest.Upstream), new(bridgetest.Downstream), new(bridgetest.Downstream)
				want := make(map[string]bool)
				for _, text := range payloads {
					up.Send(bridge.Message{Topic: "t", Payload: []byte(text)})
					if strings.HasPrefix(text, "kill") {
						want[text] = true
					}
				}
				up.Finish()
				p := &engine.Pipeline{
					Name: name, From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, To: engine.To(down.Endpoint()),
					OnError: bridge.OnError{
						Tries: 3, FirstWait: time.Millisecond, LongestWait: 10 * time.Millisecond,
						Then: bridge.FateDeadLetter, DeadLetter: dead.Endpoint(),
					},
				}
				if where == "sink" {
					p.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
						return c.Sink.Open(ctx, &sinkSettings{Obeys: true}, env)
					}
				} else {
					p.Steps = []bridge.Endpoint[bridge.Step]{{
						Type: "probe", Open: func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
							return c.Step.Open(ctx, &stepSettings{}, env)
						},
					}}
				}
				both.Go(func() {
					env := bridge.Env{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
					if err := p.Run(t.Context(), env, nil); err != nil {
						t.Error(err)
					}
					refused := make(map[string]bool)
					for _, m := range dead.Got() {
						var l bridge.DeadLetter
						if err := l.UnmarshalJSON(m.Payload); err != nil {
							t.Error(err)
						}
						refused[string(l.Payload)] = true
					}
					if diff := cmp.Diff(want, refused); diff != "" {
						t.Errorf("%s refused (-want +got):\n%s", name, diff)
					}
					if got := len(up.Acked()); got != len(payloads) {
						t.Errorf("%s: %d of %d were acknowledged", name, got, len(payloads))
					}
				})
			}
			both.Wait()
		})
	}
}
