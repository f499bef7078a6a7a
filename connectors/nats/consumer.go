package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

func ensureConsumer(ctx context.Context, stream jetstream.Stream, s *SourceSettings, env bridge.Env) (jetstream.ConsumerConfig, error) {
	consumer, err := stream.Consumer(ctx, s.durable(env))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		consumer, err = stream.CreateConsumer(ctx, s.consumer(env))
		if err != nil {
			return jetstream.ConsumerConfig{}, contradiction(err)
		}
		return consumer.CachedInfo().Config, nil
	case err != nil:
		return jetstream.ConsumerConfig{}, explain(err)
	}
	c := consumer.CachedInfo().Config
	if c.AckPolicy != jetstream.AckExplicitPolicy {
		return c, bridge.Permanent(errors.New("it is there and does not acknowledge explicitly: choose another durable"))
	}
	if c.MaxDeliver > 0 {
		env.Logger.Warn("the consumer gives up a message after some deliveries: max_deliver -1 would lose none",
			"consumer", c.Name, "max_deliver", c.MaxDeliver)
	}
	has := c.FilterSubjects
	if c.FilterSubject != "" {
		has = []string{c.FilterSubject}
	}
	if len(s.Filter) > 0 && !slices.Equal(slices.Sorted(slices.Values(has)), slices.Sorted(slices.Values(s.Filter))) {
		return c, bridge.Permanent(fmt.Errorf("it is there with filter %q, and the settings say %q: choose another durable, or delete the consumer",
			has, s.Filter))
	}
	return c, nil
}

func (s *SourceSettings) consumer(env bridge.Env) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:       s.durable(env),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: s.maxUnacked(env.MaxBatch),
	}
	if len(s.Filter) == 1 {
		c.FilterSubject = s.Filter[0]
	} else {
		c.FilterSubjects = s.Filter
	}
	switch s.Deliver {
	case "new":
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case "last":
		c.DeliverPolicy = jetstream.DeliverLastPolicy
	}
	return c
}
