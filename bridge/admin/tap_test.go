package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// from is a source of what is sent to it.
type from chan string

func (f from) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	select {
	case text := <-f:
		return bridge.Batch{{Topic: "a", Payload: []byte(text)}}, func(context.Context, error) error { return nil }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (from) Close() error { return nil }

// tapping is a bridge that runs, and answers.
type tapping struct {
	*admin.Server
	*admin.Client
	from from
}

func newTapping(t *testing.T) *tapping {
	t.Helper()
	r := &tapping{from: make(from)}
	p := &engine.Pipeline{
		Name: "sensors",
		From: []bridge.Endpoint[bridge.Source]{{Type: "from", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
			return r.from, nil
		}}},
		To: engine.To(bridgetest.Nowhere{}.Endpoint()),
	}
	m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
	m.Watch(p)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.Server = admin.New(admin.Options{Bridge: b, Monitor: m})
	at, err := r.Listen(ctx, admin.Place{Folder: owned.Place{Path: t.TempDir()}, Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Client, err = admin.Dial(ctx, at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Client.Close()
		r.Server.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	bridgetest.Eventually(t, "the pipeline runs", func() bool {
		all := r.Server.Status().Pipelines // none before the bridge has begun
		return len(all) == 1 && all[0].State == monitor.Running
	})
	return r
}

// tap asks, and returns what is answered.
func (r *tapping) tap(t *testing.T, query string) (*json.Decoder, io.Closer, error) {
	t.Helper()
	answer, err := r.Do(t.Context(), http.MethodGet, "/tap?"+query, nil)
	if err != nil {
		return nil, nil, err
	}
	return json.NewDecoder(answer.Body), answer.Body, nil
}

// TestTapAnswers holds that what passes is answered as it does, up to n, and only what the condition
// is for.
func TestTapAnswers(t *testing.T) {
	r := newTapping(t)
	lines, body, err := r.tap(t, "pipeline=sensors&place=to&n=2&when="+url.QueryEscape("json.t > 1"))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	for _, text := range []string{`{"t": 1}`, `<not JSON>`, `{"t": 2, "x": "<&>"}`} {
		r.from <- text
	}
	var line admin.TapLine
	if err := lines.Decode(&line); err != nil || string(line.Message.Payload) != `{"t": 2, "x": "<&>"}` ||
		line.Place != "to" || line.Outcome != monitor.TapDelivered || line.Lost == nil || line.Failed != 1 {
		t.Fatalf("%+v %+v, %v", line.Tapped, line.Lost, err)
	}
	r.from <- `{"t": 3}`
	line = admin.TapLine{}
	if err := lines.Decode(&line); err != nil || string(line.Message.Payload) != `{"t": 3}` || line.Lost != nil ||
		line.End != "" {
		t.Fatalf("%+v %+v, %v", line.Tapped, line.Lost, err)
	}
	if err := lines.Decode(&line); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last: %v", err)
	}
}

// TestTapMistakes holds that each mistake is answered with what to write instead, and that a
// condition learns nothing of the environment.
func TestTapMistakes(t *testing.T) {
	t.Setenv("SECRET", "s3cret")
	r := newTapping(t)
	for query, want := range map[string]string{
		"":                                 "pipeline is missing",
		"pipeline=sensor":                  `there is no pipeline "sensor"; did you mean sensors?`,
		"pipeline=sensors&place=form":      `there is no place "form"; did you mean from? places: from, to,`,
		"pipeline=sensors&when=json.t+%3E": "when: ",
		"pipeline=sensors&when=1":          "when: a condition must be true or false",
		"pipeline=sensors&n=-1":            `n: "-1" is no number`,
		"pipeline=sensors&sample=10":       `sample: "10" is no rate: write 10/s`,
		"pipeline=sensors&sample=0/s":      `sample: "0/s" is no rate: write 10/s`,
		"pipeline=sensors&bytes=1e9":       "bytes: ",
		"pipeline=sensors&plcae=to":        `there is no "plcae" to ask for`,
		"pipeline=sensors&when=%zz":        "read the query",
		"pipeline=sensors&when=" + url.QueryEscape(
			`env("SECRET") startsWith "s"`): "the environment variable SECRET is not set",
	} {
		_, _, err := r.tap(t, query)
		var answer *admin.Error
		if !errors.As(err, &answer) || answer.Code != http.StatusBadRequest || !strings.Contains(answer.Text, want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

// TestTapLetsGo holds that not any number of clients can look, that one that has gone frees its
// place, and that a client is told of the end of the bridge.
func TestTapLetsGo(t *testing.T) {
	r := newTapping(t)
	var open []io.Closer
	var lines *json.Decoder
	for {
		l, body, err := r.tap(t, "pipeline=sensors")
		if err != nil {
			var answer *admin.Error
			if !errors.As(err, &answer) || answer.Code != http.StatusServiceUnavailable {
				t.Fatal(err)
			}
			break
		}
		lines, open = l, append(open, body)
	}
	_ = open[0].Close()
	bridgetest.Eventually(t, "one that has gone makes room", func() bool {
		l, body, err := r.tap(t, "pipeline=sensors")
		if err == nil {
			lines, open[0] = l, body
		}
		return err == nil
	})
	r.Server.Close()
	var line admin.TapLine
	if err := lines.Decode(&line); err != nil || line.End != "the bridge stops" {
		t.Errorf("%+v, %v", line, err)
	}
	for _, body := range open {
		_ = body.Close()
	}
}
