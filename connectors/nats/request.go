package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// StepSettings are the settings of the step.
type StepSettings struct {
	natsclient.Settings `yaml:",inline"`
	Name                string                     `yaml:"name" doc:"of the connection, in the server's reports; empty: after the pipeline"`
	Request             bridge.Template            `yaml:"request,required" doc:"subject of the request; the answer takes the place of the message"`
	Headers             map[string]bridge.Template `yaml:"headers" doc:"beside those of the message; one that comes out empty is left out"`
	Timeout             time.Duration              `yaml:"timeout" doc:"for an answer; a message without one is refused"`
}

// publishes returns the settings of a sink that publishes what is asked.
func (s *StepSettings) publishes() *SinkSettings {
	return &SinkSettings{Client: Client{Settings: s.Settings, Name: s.Name}, Subject: s.Request, Headers: s.Headers}
}

// Validate checks each setting.
func (s *StepSettings) Validate() error {
	var errs []error
	if s.Request != nil {
		if subject, constant := s.Request.Constant(); constant && !publishable(subject) {
			errs = append(errs, bridge.KeyErrorf("request", "%w", notPublishable(subject)))
		}
	}
	if s.Timeout <= 0 {
		errs = append(errs, bridge.KeyErrorf("timeout", "must be above 0"))
	}
	return errors.Join(append(errs, checkHeaders(s.Headers))...)
}

// requestWindow is how many questions wait for their answer at a time.
const requestWindow = 256

// requests is a step that asks somebody at NATS, and goes on with the answers.
type requests struct {
	form
	conn    *conn
	timeout time.Duration
	inbox   string // with a dot at the end
	answers chan *nats.Msg
	asked   uint64 // in all
	header  header
}

var _ bridge.Step = (*requests)(nil)

func openStep(ctx context.Context, s *StepSettings, env bridge.Env) (bridge.Step, error) {
	to := s.publishes()
	c, err := dial(ctx, &to.Client, env)
	if err != nil {
		return nil, err
	}
	r := &requests{
		form: newForm(to), conn: c, timeout: s.Timeout, inbox: c.NewInbox() + ".",
		answers: make(chan *nats.Msg, 2*requestWindow),
	}
	if _, err := c.ChanSubscribe(r.inbox+"*", r.answers); err != nil {
		c.End()
		return nil, c.Err()
	}
	return r, nil
}

func (r *requests) Close() error {
	r.conn.End()
	return nil
}

// answer is what has become of a question.
type answer struct {
	late    time.Time // from when on it comes too late
	message *nats.Msg
	refused error
}

func (a *answer) settled() bool { return a.message != nil || a.refused != nil }

func (r *requests) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	defer context.AfterFunc(ctx, r.conn.Cut)() // a peer that does not read blocks us in the socket
	answers, err := r.askAll(ctx, batch)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // that was us
		}
		return err
	}
	for i, a := range answers {
		if a.refused != nil {
			out.Refuse(i, a.refused)
			continue
		}
		m := batch[i]
		m.Payload = a.message.Data
		if len(a.message.Header) > 0 {
			headers := maps.Clone(m.Header)
			if headers == nil {
				headers = make(map[string]string)
			}
			maps.Copy(headers, received(a.message.Header))
			m.Header = headers
		}
		out.Emit(i, m)
	}
	return nil
}

// askAll asks for each message. An error is about the connection, or says that nobody is there who
// answers.
func (r *requests) askAll(ctx context.Context, batch bridge.Batch) ([]answer, error) {
	all, first := make([]answer, len(batch)), r.asked
	r.asked += uint64(len(batch))
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	next, front := 0, 0 // to be asked, to be answered
	for front < len(all) {
		for ; next < len(all) && next-front < requestWindow; next++ {
			if err := r.ask(&all[next], &batch[next], first+uint64(next)); err != nil {
				return nil, err
			}
		}
		if all[front].settled() {
			front++
			continue
		}
		timer.Reset(time.Until(all[front].late))
		select {
		case m := <-r.answers:
			if err := r.take(all, m, first); err != nil {
				return nil, err
			}
		case <-timer.C:
			all[front].refused = fmt.Errorf("no answer in %v from %q", r.timeout, r.asks(&batch[front]))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.conn.Gone:
			return nil, r.conn.Err()
		}
	}
	return all, nil
}

func (r *requests) asks(m *bridge.Message) string {
	subject, _ := r.subject.of(m)
	return subject
}

func (r *requests) ask(a *answer, m *bridge.Message, number uint64) (err error) {
	var out nats.Msg
	if a.refused = r.fill(&out, &r.header, m); a.refused == nil {
		out.Reply = r.inbox + strconv.FormatUint(number, 10)
		a.refused, err = r.conn.publish(&out)
		a.late = time.Now().Add(r.timeout)
	}
	return err
}

// take notes an answer, which may be to a question of an earlier batch.
func (r *requests) take(all []answer, m *nats.Msg, first uint64) error {
	i := parse(strings.TrimPrefix(m.Subject, r.inbox)) - first
	if i >= uint64(len(all)) || all[i].settled() {
		return nil
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return fmt.Errorf("request: %w", nats.ErrNoResponders)
	}
	// As the services of NATS say what has gone wrong (ADR-32).
	if code := m.Header.Get("Nats-Service-Error-Code"); code != "" {
		all[i].refused = fmt.Errorf("the service answers %q: %q", code, m.Header.Get("Nats-Service-Error"))
		return nil
	}
	all[i].message = m
	return nil
}
