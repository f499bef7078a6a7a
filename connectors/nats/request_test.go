package nats_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// asks opens the step and returns what it makes of a batch.
func asks(t *testing.T, c bridge.Connector, s *server.Server, text string) func(bridge.Batch) (*bridge.Outcome, error) {
	t.Helper()
	settings := nats.Connector().Step.Settings().(*nats.StepSettings)
	fromYAML(t, s, text, settings)
	step, err := c.Step.Open(t.Context(), settings, bridgetest.Env(t, "test-step"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = step.Close() })
	var runner bridge.StepRunner
	call := uint64(0)
	return func(b bridge.Batch) (*bridge.Outcome, error) {
		call++
		return runner.Process(t.Context(), step, call, b, false)
	}
}

// answers has somebody answer.
func answers(t *testing.T, s *server.Server, subject string, as func(*natsgo.Msg)) {
	t.Helper()
	nc := client(t, s).Conn()
	if _, err := nc.Subscribe(subject, as); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Answers take the place of messages, in their order, however many there are and in whatever order
// they come.
func TestRequests(t *testing.T) { plugintest.Both(t, nats.Connector(), testRequests) }

func testRequests(t *testing.T, c bridge.Connector) {
	s := natstest.Start(t, nil)
	var waiting []*natsgo.Msg
	answers(t, s, "convert.*", func(m *natsgo.Msg) {
		waiting = append(waiting, m)
		if len(waiting) < 50 {
			return
		}
		for i := range waiting { // the last one first
			m := waiting[len(waiting)-1-i]
			r := natsgo.NewMsg(m.Reply)
			r.Data = fmt.Appendf(nil, "%s+%s+%s", m.Subject, m.Data, m.Header.Get("Unit"))
			r.Header = natsgo.Header{"Unit": {"C"}, "Answered": {"yes"}}
			_ = m.RespondMsg(r)
			_ = m.Respond([]byte("again")) // what comes twice counts once
		}
		waiting = nil
	})
	ask := asks(t, c, s, `{request: "convert.{{ topic }}", headers: {Unit: F}}`)
	for round := range 2 {
		var batch bridge.Batch
		for i := range 500 {
			batch = append(batch, bridge.Message{
				ID: fmt.Sprintf("%d-%d", round, i), Topic: fmt.Sprint("t", i), Payload: fmt.Append(nil, i),
				Header: map[string]string{"Own": "1"},
			})
		}
		said, err := ask(batch)
		if err != nil || len(said.Messages) != len(batch) {
			t.Fatalf("%d messages of %d, err = %v", len(said.Messages), len(batch), err)
		}
		for i, m := range said.Messages {
			if want := fmt.Sprintf("convert.t%d+%d+F", i, i); string(m.Payload) != want || m.Topic != batch[i].Topic ||
				m.ID != batch[i].ID || m.Header["Unit"] != "C" || m.Header["Answered"] != "yes" ||
				m.Header["Own"] != "1" {
				t.Fatalf("message %d is %+v, want the answer %s", i, m, want)
			}
		}
	}
}

// More answers than questions, as of several who answer each, leave room for the first ones, also
// while questions are still being asked.
func TestRequestsWithManyAnswers(t *testing.T) {
	s := natstest.Start(t, nil)
	answers(t, s, "ask", func(m *natsgo.Msg) {
		for range 20 {
			_ = m.Respond([]byte("well"))
		}
	})
	ask := asks(t, nats.Connector(), s, `{request: ask, timeout: 5s}`)
	batch := make(bridge.Batch, 256)
	for i := range batch {
		batch[i] = bridge.Message{Topic: fmt.Sprint(i), Payload: make([]byte, 64<<10)}
	}
	for range 3 {
		if said, err := ask(batch); err != nil || len(said.Messages) != len(batch) {
			t.Fatalf("%d of %d went on, err = %v; refused: %v", len(said.Messages), len(batch), err, said.Refused)
		}
	}
}

// A message without an answer is refused, and its neighbours are not.
func TestRequestsThatFail(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.MaxPayload = 1024 })
	late := make(chan *natsgo.Msg, 1)
	answers(t, s, "ask.*", func(m *natsgo.Msg) {
		switch {
		case strings.HasSuffix(m.Subject, ".late"):
			late <- m
		case strings.HasSuffix(m.Subject, ".wrong"):
			r := natsgo.NewMsg(m.Reply)
			r.Header = natsgo.Header{"Nats-Service-Error-Code": {"418"}, "Nats-Service-Error": {"a teapot"}}
			_ = m.RespondMsg(r)
		default:
			_ = m.Respond([]byte("well"))
		}
	})
	ask := asks(t, nats.Connector(), s, `{request: "ask.{{ topic }}", timeout: 500ms}`)
	said, err := ask(bridge.Batch{
		{Topic: "a"},
		{Topic: "late"},
		{Topic: "wrong"},
		{Topic: "not a word"},
		{Topic: "large", Payload: make([]byte, 2048)},
		{Topic: "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, r := range said.Refused {
		reasons = append(reasons, fmt.Sprint(r.Index, " ", r.Err))
	}
	for i, want := range []string{
		`1 no answer in 500ms from "ask.late"`, `2 the service answers "418": "a teapot"`,
		"3 publish to", "4 publish to",
	} {
		if i >= len(reasons) || !strings.HasPrefix(reasons[i], want) {
			t.Fatalf("refused %q, want %s", reasons, want)
		}
	}
	if len(said.Messages) != 2 || string(said.Messages[0].Payload) != "well" || said.Messages[1].Topic != "b" {
		t.Errorf("went on: %+v", said.Messages)
	}
	if err := (<-late).Respond([]byte("too late")); err != nil {
		t.Fatal(err)
	}
	if said, err := ask(bridge.Batch{{Topic: "c"}}); err != nil || string(said.Messages[0].Payload) != "well" {
		t.Errorf("%+v, err = %v, want the answer to this request", said, err)
	}
}

// Where nobody answers the step fails, since that may pass, and so does one whose server is gone.
func TestRequestsToNobody(t *testing.T) {
	s := natstest.Start(t, nil)
	ask := asks(t, nats.Connector(), s, `{request: nobody}`)
	if _, err := ask(bridge.Batch{{Topic: "a"}}); !errors.Is(err, natsgo.ErrNoResponders) || bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("err = %v, want %v", err, natsgo.ErrNoResponders)
	}
	answers(t, s, "stays", func(*natsgo.Msg) { go s.Shutdown() })
	ask = asks(t, nats.Connector(), s, `{request: stays, timeout: 10m}`)
	if _, err := ask(bridge.Batch{{Topic: "a"}}); err == nil || bridge.IsPermanent(err) {
		t.Errorf("err = %v, want one of the connection", err)
	}
}
