package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// durable returns the name of the consumer, by default after the place in the pipeline.
func (s *SourceSettings) durable(env bridge.Env) string {
	if s.Durable != "" {
		return s.Durable
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n\f.*>/\\", r) {
			return '_'
		}
		return r
	}, env.Instance)
}

// Keeps names the durable consumer.
func (s *SourceSettings) Keeps(env bridge.Env) string {
	if s.stream() == "" || s.once {
		return ""
	}
	return fmt.Sprintf("consumer %q of %s at %s", s.durable(env), s.named(), strings.TrimPrefix(s.system(), "nats "))
}

// Forget deletes the durable consumer.
func (s *SourceSettings) Forget(ctx context.Context, env bridge.Env) (ended bool, err error) {
	if s.stream() == "" {
		return false, nil
	}
	c, err := dial(ctx, &s.Client, env)
	if err != nil {
		return false, err
	}
	defer c.End()
	name := fmt.Sprintf("consumer %q of %s", s.durable(env), s.named())
	consumer, err := c.js.Consumer(ctx, s.stream(), s.durable(env))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s: %w", name, c.explain(err))
	case consumer.CachedInfo().NumWaiting > 0:
		return false, fmt.Errorf("%s: somebody reads it now: stop the bridge first", name)
	}
	if err := c.js.DeleteConsumer(ctx, s.stream(), s.durable(env)); err != nil {
		return false, fmt.Errorf("%s: %w", name, c.explain(err))
	}
	return true, nil
}

// madeBy is in the metadata of consumers that were made here, which are kept as the settings say.
const madeBy = "xrtcbridge"

// ensureConsumer makes the consumer if it is missing, and adjusts it if it is not as the settings
// say. One that somebody else has made is adjusted in what the settings name.
func ensureConsumer(ctx context.Context, c *conn, stream jetstream.Stream, last *position, s *SourceSettings,
	env bridge.Env,
) (jetstream.Consumer, error) {
	want := s.consumer(stream, env)
	consumer, err := stream.Consumer(ctx, want.Durable)
	missing := errors.Is(err, jetstream.ErrConsumerNotFound)
	if last != nil && !last.Made.Equal(stream.CachedInfo().Created) {
		from := "its start"
		if !missing {
			from = "where its consumer is, which somebody has made"
		}
		env.Logger.Warn("the stream was deleted and made anew: what was not read of the old one is lost",
			"stream", s.stream(), "made", stream.CachedInfo().Created, "old", last.Made,
			"acknowledged", last.Floor, "unread", last.Unread, "from", from)
	}
	if missing {
		return createConsumer(ctx, stream, want, last, s, env)
	}
	if err := c.usable(consumer, err); err != nil {
		return nil, err
	}
	has := consumer.CachedInfo().Config
	if has.MaxDeliver > 0 {
		env.Logger.Warn("the consumer gives up a message after some deliveries: max_deliver -1 would lose none",
			"consumer", has.Name, "max_deliver", has.MaxDeliver)
	}
	if has.HeadersOnly {
		env.Logger.Warn("the consumer delivers headers only, so that payloads are empty", "consumer", has.Name)
	}
	if was := has.Metadata[madeBy]; was != "" && was != want.Metadata[madeBy] {
		env.Logger.Warn("deliver is where a new consumer starts, and this one has started: "+
			"xrtcbridge state reset makes it begin anew",
			"consumer", has.Name, "deliver", want.Metadata[madeBy], "was", was)
	}
	return adjustConsumer(ctx, stream, consumer, want, s, env)
}

// usable returns why a consumer cannot be read as a source does, which may be the error of asking
// for it.
func (c *conn) usable(consumer jetstream.Consumer, err error) error {
	var has jetstream.ConsumerConfig
	if err == nil {
		has = consumer.CachedInfo().Config
	}
	switch {
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		err = errors.New("it is there and pushes messages, instead of waiting until somebody asks for them")
	case err != nil:
		return c.explain(err)
	case has.AckPolicy != jetstream.AckExplicitPolicy:
		err = errors.New("it is there and does not acknowledge explicitly")
	case has.PriorityPolicy == jetstream.PriorityPolicyPinned:
		err = errors.New("it is there and pins a client of a priority group")
	default:
		return nil
	}
	return bridge.Permanent(fmt.Errorf("%w: choose another durable", err))
}

// createConsumer makes the consumer. One that was there and was deleted goes on behind what was
// acknowledged, and at the start of a stream that was made anew.
func createConsumer(ctx context.Context, stream jetstream.Stream, want jetstream.ConsumerConfig, last *position,
	s *SourceSettings, env bridge.Env,
) (jetstream.Consumer, error) {
	info := stream.CachedInfo()
	switch {
	case last == nil:
	case info.Config.Retention == jetstream.WorkQueuePolicy: // what was acknowledged is gone there
	case last.Made.Equal(info.Created):
		// The stream may have lost its newest messages, and gives their numbers again.
		floor := min(last.Floor, info.State.LastSeq)
		want.DeliverPolicy, want.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
		if !s.once {
			env.Logger.Warn("the consumer is gone: making it anew behind the last acknowledged message; "+
				"to begin as deliver says, use xrtcbridge state reset",
				"consumer", want.Durable, "sequence", floor)
		}
	default:
		want.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	consumer, err := stream.CreateConsumer(ctx, want)
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok && refused.ErrorCode == tooManyPending &&
		s.MaxAckPending == 0 {
		want.MaxAckPending = 0 // as many as the server allows
		consumer, err = stream.CreateConsumer(ctx, want)
	}
	return consumer, contradiction(err)
}

// adjustConsumer brings the consumer to what the settings say.
func adjustConsumer(ctx context.Context, stream jetstream.Stream, consumer jetstream.Consumer,
	want jetstream.ConsumerConfig, s *SourceSettings, env bridge.Env,
) (jetstream.Consumer, error) {
	has := consumer.CachedInfo().Config
	ours := has.Metadata[madeBy] != ""
	next := has
	var changes []string
	change(&changes, "ack_wait", ours || s.AckWait != 0, &next.AckWait, want.AckWait)
	change(&changes, "max_ack_pending", ours || s.MaxAckPending != 0, &next.MaxAckPending, want.MaxAckPending)
	if from, to := filters(has), filters(want); !slices.Equal(from, to) {
		if !ours && len(to) == 0 {
			env.Logger.Info("the consumer was made by somebody else, and its filter leaves messages out", "consumer",
				has.Name, "filter", from)
		} else {
			next.FilterSubject, next.FilterSubjects = want.FilterSubject, want.FilterSubjects
			changes = append(changes, fmt.Sprintf("filter from %s to %s", quoted(from), quoted(to)))
			env.Logger.Warn("the filter of the consumer changes: what it left out so far is not read; "+
				"to read that, use xrtcbridge state reset",
				"consumer", has.Name, "sequence", consumer.CachedInfo().Delivered.Stream)
		}
	}
	if len(changes) == 0 {
		return consumer, nil
	}
	what := strings.Join(changes, ", ")
	consumer, err := stream.UpdateConsumer(ctx, next)
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok && refused.ErrorCode == tooManyPending &&
		s.MaxAckPending == 0 {
		return stream.Consumer(ctx, want.Durable) // it has what the server allows
	}
	if err == nil {
		if now := consumer.CachedInfo().Config; now.AckWait != next.AckWait ||
			now.MaxAckPending != next.MaxAckPending || !slices.Equal(filters(now), filters(next)) {
			err = bridge.Permanent(errors.New("the server has left it as it was"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("change %s: %w: write what the consumer has, choose another durable, "+
			"or delete it (xrtcbridge state reset %s)",
			what, contradiction(err), env.Pipeline)
	}
	env.Logger.Info("the consumer was changed to what the settings say", "consumer", has.Name, "change", what)
	return consumer, nil
}

// filters returns the subjects that a consumer chooses, sorted; none: all.
func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return slices.Sorted(slices.Values(c.FilterSubjects))
}

func quoted(filters []string) string {
	if len(filters) == 0 {
		return "all"
	}
	return fmt.Sprintf("%q", filters)
}

const defaultAckWait = 30 * time.Second

// forgotten is how long a consumer of one run is kept when that does not read, nor deletes it, as
// after kill -9. One that is gone after an outage is made anew behind what was acknowledged.
const forgotten = 5 * time.Minute

func (s *SourceSettings) consumer(stream jetstream.Stream, env bridge.Env) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:       s.durable(env),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cmp.Or(s.AckWait, defaultAckWait),
		MaxDeliver:    -1,
		MaxAckPending: s.maxUnacked(env.MaxBatch),
		Metadata:      map[string]string{madeBy: cmp.Or(s.Deliver, "all")},
	}
	if s.once {
		c.InactiveThreshold = forgotten
	}
	if most := stream.CachedInfo().Config.ConsumerLimits.MaxAckPending; most > 0 && s.MaxAckPending == 0 {
		c.MaxAckPending = min(c.MaxAckPending, most)
	}
	if filter, _ := distinct(s.filters(stream.CachedInfo().Config)); len(filter) == 1 {
		c.FilterSubject = filter[0]
	} else {
		c.FilterSubjects = filter
	}
	switch s.Deliver {
	case "new":
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case "last":
		c.DeliverPolicy = jetstream.DeliverLastPolicy
		if s.KV+s.Objects != "" {
			c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		}
	}
	return c
}
