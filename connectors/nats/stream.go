package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// ensureStreams creates the streams that are missing.
func ensureStreams(ctx context.Context, c *conn, streams map[string]Stream) error {
	if len(streams) == 0 {
		return nil
	}
	js, err := c.jetStream()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if err := ensureStream(ctx, js, name, streams[name]); err != nil {
			return fmt.Errorf("stream %q: %w", name, err)
		}
	}
	return nil
}

func ensureStream(ctx context.Context, js jetstream.JetStream, name string, s Stream) error {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err := js.CreateStream(ctx, s.config(name))
		return contradiction(err)
	}
	if err != nil {
		return explain(err)
	}
	has := stream.CachedInfo().Config.Subjects
	for _, want := range s.Subjects {
		if !slices.ContainsFunc(has, func(by string) bool { return covers(by, want) }) {
			return bridge.Permanent(fmt.Errorf("it is there and takes %s, not %q: add that subject to it, or use another stream",
				strings.Join(has, ", "), want))
		}
	}
	return nil
}

func (s Stream) config(name string) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:       name,
		Subjects:   s.Subjects,
		MaxBytes:   orUnlimited(int64(s.MaxBytes)),
		MaxMsgs:    orUnlimited(s.MaxMsgs),
		MaxAge:     s.MaxAge,
		Replicas:   s.Replicas,
		Duplicates: s.Duplicates,
	}
	if s.Storage == "memory" {
		c.Storage = jetstream.MemoryStorage
	}
	if s.Discard == "new" {
		c.Discard = jetstream.DiscardNew
	}
	return c
}

func orUnlimited(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// contradiction marks what the server says of a stream or consumer that it cannot make as settings
// want it, because of what they say or what is there already.
func contradiction(err error) error {
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.Code == http.StatusBadRequest {
		return bridge.Permanent(err)
	}
	return err
}

// explain adds what to do about it to an error of JetStream.
func explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: create it, or declare it under streams", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: switch JetStream on at the server", err)
	}
	return err
}
