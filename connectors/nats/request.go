package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// StepSettings are the settings of the step.
type StepSettings struct {
	natsclient.Settings `yaml:",inline"`

	Name    string                     `yaml:"name" doc:"of the connection; empty: after the pipeline"`
	Request bridge.Template            `yaml:"request,required" doc:"its subject; the answer takes the message's place"`
	Headers map[string]bridge.Template `yaml:"headers" doc:"beside the message's; an empty one is left out"`
	Timeout time.Duration              `yaml:"timeout" doc:"for an answer; without one a message is refused"`
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
	header  header
	come    chan struct{} // has one when an answer has come

	mu      sync.Mutex  // guards what follows
	first   uint64      // number of the first question of the batch
	answers []*nats.Msg // to the batch
}

var _ bridge.Step = (*requests)(nil)

func openStep(ctx context.Context, s *StepSettings, env bridge.Env) (bridge.Step, error) {
	to := s.publishes()
	c, err := dial(ctx, &to.Client, env)
	if err != nil {
		return nil, err
	}
	r := &requests{
		form: newForm(to), conn: c, timeout: s.Timeout, inbox: c.NewInbox() + ".", come: make(chan struct{}, 1),
	}
	if _, err := c.Subscribe(r.inbox+"*", r.take); err != nil {
		c.End()
		return nil, c.Err()
	}
	return r, nil
}

func (r *requests) Close() error {
	r.conn.End()
	return nil
}

// question is what has been asked.
type question struct {
	late    time.Time // from when on the answer comes too late
	refused error     // why it was not
}

func (r *requests) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	defer context.AfterFunc(ctx, r.conn.Cut)() // a peer that does not read blocks us in the socket
	if err := r.askAll(ctx, batch, out); err != nil {
		return cmp.Or(ctx.Err(), err) // the end of the connection may be our doing
	}
	return nil
}

// askAll asks for each message. An error is about the connection, or says that nobody is there who
// answers.
func (r *requests) askAll(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	r.mu.Lock()
	r.first += uint64(len(r.answers))
	r.answers = make([]*nats.Msg, len(batch))
	first := r.first
	r.mu.Unlock()
	asked := make([]question, 0, len(batch))
	for i, m := range batch {
		for n := len(asked); n < len(batch) && n-i < requestWindow; n++ {
			q, err := r.ask(&batch[n], first+uint64(n))
			if err != nil {
				return err
			}
			asked = append(asked, q)
		}
		refused := asked[i].refused
		if refused == nil {
			answer, err := r.await(ctx, i, asked[i].late)
			if err != nil {
				return err
			}
			if refused, err = r.replace(&m, answer); err != nil {
				return err
			}
		}
		if refused != nil {
			out.Refuse(i, refused)
		} else {
			out.Emit(i, m)
		}
	}
	return nil
}

func (r *requests) ask(m *bridge.Message, number uint64) (q question, err error) {
	var out nats.Msg
	if q.refused = r.fill(&out, &r.header, m); q.refused == nil {
		out.Reply = r.inbox + strconv.FormatUint(number, 10)
		q.refused, err = r.conn.publish(&out)
		q.late = time.Now().Add(r.timeout)
	}
	return q, err
}

// take is called by the client library: there is room for one answer to each question, whoever else
// answers, and none for what is too late.
func (r *requests) take(m *nats.Msg) {
	r.mu.Lock()
	if i := parse(strings.TrimPrefix(m.Subject, r.inbox)) - r.first; i < uint64(len(r.answers)) && r.answers[i] == nil {
		r.answers[i] = m
	}
	r.mu.Unlock()
	select {
	case r.come <- struct{}{}:
	default:
	}
}

func (r *requests) answer(i int) *nats.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers[i]
}

// await returns the answer to question i, nil if there is none in time.
func (r *requests) await(ctx context.Context, i int, late time.Time) (*nats.Msg, error) {
	if m := r.answer(i); m != nil {
		return m, nil
	}
	timer := time.NewTimer(time.Until(late))
	defer timer.Stop()
	for {
		select {
		case <-r.come:
			if m := r.answer(i); m != nil {
				return m, nil
			}
		case <-timer.C:
			return r.answer(i), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.conn.Gone:
			return nil, r.conn.Err()
		}
	}
}

// replace puts the answer in the place of m, or says why m is refused.
func (r *requests) replace(m *bridge.Message, answer *nats.Msg) (refused, err error) {
	subject, _ := r.subject.of(m)
	if answer == nil {
		return fmt.Errorf("no answer in %v from %q", r.timeout, subject), nil
	}
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return nil, fmt.Errorf("request to %q: %w: start what answers there", subject, nats.ErrNoResponders)
	}
	// As the services of NATS say what has gone wrong (ADR-32).
	if code := answer.Header.Get("Nats-Service-Error-Code"); code != "" {
		return fmt.Errorf("the service answers %q: %q", code, answer.Header.Get("Nats-Service-Error")), nil
	}
	m.Payload = answer.Data
	if len(answer.Header) > 0 {
		headers := maps.Clone(m.Header)
		if headers == nil {
			headers = make(map[string]string)
		}
		maps.Copy(headers, received(answer.Header))
		m.Header = headers
	}
	return nil, nil
}
