package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin"
)

// The test binary is the command, too: scripts and tests find it in PATH as
// xrtcbridge, and can kill it for real.
func TestMain(m *testing.M) {
	bridgetest.Parallel(2)
	testscript.Main(m, map[string]func(){
		"xrtcbridge":       main,
		"xrtcbridge-count": func() { plugin.Serve(counting()) },
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			path, err := exec.LookPath("xrtcbridge-count")
			e.Setenv("PLUGINS", filepath.Dir(path))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"freeport": freePort(t),
			"waitport": waitPort,
			"ready":    ready,
		},
	})
}

// counting is the connector of the plugin that scripts use: a source that counts, and a sink that
// logs.
func counting() bridge.Connector {
	type sourceSettings struct {
		To   int    `yaml:"to,required" min:"1"`
		Word string `yaml:"word"`
	}
	type sinkSettings struct{}
	return bridge.Connector{
		Name: "count", Summary: "counts", Example: "pipelines:\n  example: {from: {count: {to: 3}}, to: count}\n",
		Source: bridge.NewOpener(sourceSettings{Word: "number"},
			func(_ context.Context, s *sourceSettings, _ bridge.Env) (bridge.Source, error) {
				if s.Word == "fail" {
					return nil, bridge.Permanent(errors.New("no such word"))
				}
				batch := make(bridge.Batch, s.To)
				for i := range batch {
					batch[i].Payload = fmt.Appendf(nil, "%s %d", s.Word, i+1)
				}
				return &countingSource{batch: batch}, nil
			}),
		Sink: bridge.NewOpener(sinkSettings{}, func(_ context.Context, _ *sinkSettings, env bridge.Env) (bridge.Sink, error) {
			return countingSink{env.Logger}, nil
		}),
	}
}

type countingSource struct{ batch bridge.Batch }

func (s *countingSource) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	b := s.batch
	s.batch = nil
	return b, func(context.Context, error) error { return nil }, io.EOF
}

func (*countingSource) Close() error { return nil }

type countingSink struct{ log *slog.Logger }

func (s countingSink) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	for _, m := range b {
		s.log.Warn("got", "payload", string(m.Payload))
	}
	return bridge.Result{Settled: len(b)}, nil
}

func (countingSink) Close() error { return nil }

// exits CODE COMMAND [ARG...] runs the command and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		code = e.ExitCode()
	}
	if code != want {
		ts.Fatalf("%s exited with %d, want %d", args[1], code, want)
	}
}

// freePort NAME sets an environment variable to a port of localhost on which nobody listens.
func freePort(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: freeport NAME")
		}
		_, port, _ := net.SplitHostPort(bridgetest.FreeAddr(t))
		ts.Setenv(args[0], port)
	}
}

// waitPort PORT waits until somebody listens on the port of localhost.
func waitPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitport PORT")
	}
	for deadline := time.Now().Add(bridgetest.Timeout); ; {
		c, err := net.Dial("tcp", "localhost:"+args[0])
		if err == nil {
			nobody := c.LocalAddr().String() == c.RemoteAddr().String() // the system gave the socket that port
			_ = c.Close()
			if !nobody {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("nobody listens on port %s: %v", args[0], err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// ready FILE waits until the bridge that runs FILE says so.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready FILE")
	}
	for deadline := time.Now().Add(bridgetest.Timeout); ; {
		err := ts.Exec("xrtcbridge", "status", args[0])
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not ready: %v", args[0], err)
		}
		<-time.After(5 * time.Millisecond)
	}
}
