package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Probe logs in, and subscribes, or looks at the stream and the consumer.
func (s *SourceSettings) Probe(ctx context.Context, env bridge.Env) (bridge.Probed, error) {
	return probe(ctx, &s.Client, env, func(c *conn, p *bridge.Probed) error {
		if s.stream() == "" {
			return s.probeSubjects(ctx, c, p)
		}
		info, err := c.look(ctx, s.stream(), s.streams(), p)
		if err != nil || info == nil {
			return err
		}
		for _, filter := range s.filters(info.Config) {
			if len(info.Config.Sources) > 0 || info.Config.SubjectTransform != nil {
				break // it has messages with other subjects than it takes, too
			}
			if err := takes(info, filter); err != nil {
				return err
			}
		}
		durable := s.durable(env)
		name := fmt.Sprintf("consumer %q of %s", durable, s.named())
		consumer, err := c.js.Consumer(ctx, s.stream(), durable)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			p.NotTried = append(p.NotTried, name+" is not there: run makes it")
			return nil
		default:
			if err := c.usable(consumer, err); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		p.Tried = append(p.Tried, name+" is there")
		p.NotTried = append(p.NotTried, "take a message: it would be missing elsewhere")
		return nil
	})
}

// probeSubjects subscribes without the queue group, whose messages it would take from others.
func (s *SourceSettings) probeSubjects(ctx context.Context, c *conn, p *bridge.Probed) error {
	subjects, _ := distinct(s.subjects())
	for _, subject := range subjects {
		if _, err := c.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			return fmt.Errorf("subscribe to %q: %w", subject, err)
		}
	}
	err := c.sync(ctx, answerTimeout, c.Outgoing())
	if s.Queue != "" {
		p.NotTried = append(p.NotTried, fmt.Sprintf("join the queue group %q: it would take messages from others", s.Queue))
		if c.untold(err, p, "subscribe without the group") { // some may in the group only
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	p.Tried = append(p.Tried, fmt.Sprintf("subscribed to %q", subjects))
	return nil
}

// Probe logs in, and looks at the stream.
func (s *SinkSettings) Probe(ctx context.Context, env bridge.Env) (bridge.Probed, error) {
	return probe(ctx, &s.Client, env, func(c *conn, p *bridge.Probed) error {
		what := fmt.Sprintf("publish to %v", s.to())
		if s.Objects != "" {
			what = fmt.Sprintf("put into object store %q", s.Objects)
		}
		p.NotTried = append(p.NotTried, what+": it would change something")
		subject, constant := s.to().Constant()
		if !constant { // the words that are known, and any behind them
			subject = subject[:strings.LastIndexByte(subject, '.')+1] + ">"
		}
		switch {
		case s.stream() != "":
			info, err := c.look(ctx, s.stream(), s.streams(), p)
			switch {
			case c.untold(err, p, "look for the stream"):
				return nil
			case err == nil && info != nil && info.Config.Mirror != nil:
				err = bridge.Permanent(fmt.Errorf("stream %q mirrors %q and takes nothing else: publish to that one",
					info.Config.Name, info.Config.Mirror.Name))
			case err == nil && info != nil && s.KV+s.Objects == "":
				err = takes(info, subject)
			}
			return err
		case s.JetStream && constant && !slices.ContainsFunc(slices.Collect(maps.Values(s.streams())),
			func(declared Stream) bool {
				return slices.ContainsFunc(declared.Subjects, func(by string) bool { return covers(by, subject) })
			}):
			name, err := c.js.StreamNameBySubject(ctx, subject)
			switch {
			case c.untold(err, p, "look for the stream"):
				return nil
			case err != nil:
				return fmt.Errorf("find the stream that takes %q: %w", subject, c.explain(err))
			}
			p.Tried = append(p.Tried, fmt.Sprintf("stream %q takes it", name))
		}
		return nil
	})
}

// probe logs in, looks at the streams that are declared, and then at what else.
func probe(ctx context.Context, s *Client, env bridge.Env, what func(*conn, *bridge.Probed) error) (bridge.Probed, error) {
	var p bridge.Probed
	named := *s
	named.Name = cmp.Or(s.Name, "xrtcbridge "+env.Instance) + " check"
	c, err := dial(ctx, &named, env)
	if err != nil {
		return p, err
	}
	defer c.End()
	defer context.AfterFunc(ctx, c.Cut)()
	p.Tried = append(p.Tried, c.LoggedIn(len(s.URL)))
	for _, name := range slices.Sorted(maps.Keys(s.streams())) {
		if _, err = c.look(ctx, name, s.streams(), &p); err != nil {
			break
		}
	}
	if err == nil {
		err = what(c, &p)
	}
	if err != nil && ctx.Err() == nil && c.IsClosed() { // as after a permission that is missing
		err = c.Err()
	}
	return p, err
}

// untold reports whether an error is of a permission that run has no need of, and notes that.
func (c *conn) untold(err error, p *bridge.Probed, what string) bool {
	if err == nil || !errors.Is(c.Err(), nats.ErrPermissionViolation) {
		return false
	}
	p.NotTried = append(p.NotTried, what+": run does without, and the server lets this user not")
	return true
}

// look returns what is known of a stream, nil if it is missing and run makes it, as declared.
func (c *conn) look(ctx context.Context, name string, streams map[string]Stream,
	p *bridge.Probed,
) (*jetstream.StreamInfo, error) {
	note := func(to *[]string, format string, a ...any) {
		if text := fmt.Sprintf(format, a...); !slices.Contains(*to, text) {
			*to = append(*to, text)
		}
	}
	declared, ours := streams[name]
	stream, err := c.js.Stream(ctx, name)
	switch {
	case ours && errors.Is(err, jetstream.ErrStreamNotFound):
		note(&p.NotTried, "stream %q is not there: run makes it", name)
		return nil, nil //nolint:nilnil // there is none, and that is no error
	case err != nil:
		return nil, fmt.Errorf("stream %q: %w", name, c.explain(err))
	}
	if ours {
		_, what, err := declared.agreed(stream.CachedInfo())
		if err != nil {
			return nil, fmt.Errorf("streams.%s: %w", name, err)
		}
		if what != "" {
			note(&p.NotTried, "stream %q: run changes %s", name, what)
		}
	}
	note(&p.Tried, "stream %q is there", name)
	return stream.CachedInfo(), nil
}

// takes says why none of a stream's messages can have a subject. One that mirrors others has what
// these have.
func takes(info *jetstream.StreamInfo, subject string) error {
	subjects := info.Config.Subjects
	if len(subjects) == 0 || slices.ContainsFunc(subjects, func(by string) bool { return overlap(by, subject) }) {
		return nil
	}
	return bridge.Permanent(fmt.Errorf("stream %q takes %s, and not %s: add that subject to it, or use another stream",
		info.Config.Name, strings.Join(subjects, ", "), subject))
}
