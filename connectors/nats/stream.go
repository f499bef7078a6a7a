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

// ensureStreams creates the streams that are missing, and adjusts those that are there.
func ensureStreams(ctx context.Context, c *conn, streams map[string]Stream, env bridge.Env) error {
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if err := ensureStream(ctx, c, name, streams[name], env); err != nil {
			return fmt.Errorf("streams.%s: %w", name, err)
		}
	}
	return nil
}

func ensureStream(ctx context.Context, c *conn, name string, s Stream, env bridge.Env) error {
	stream, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err := c.js.CreateStream(ctx, s.config(name))
		return contradiction(err)
	}
	if err != nil {
		return c.explain(err)
	}
	next, what, err := s.agreed(stream.CachedInfo())
	if err != nil || what == "" {
		return err
	}
	if _, err = c.js.UpdateStream(ctx, next); err != nil {
		return unchanged(what, contradiction(err))
	}
	env.Logger.Info("the stream was changed to what the settings say", "stream", name, "change", what)
	return nil
}

// agreed is changed, for a stream that takes the subjects. What cannot be is an error.
func (s Stream) agreed(info *jetstream.StreamInfo) (next jetstream.StreamConfig, what string, err error) {
	for _, want := range s.Subjects {
		if !slices.ContainsFunc(info.Config.Subjects, func(by string) bool { return covers(by, want) }) {
			return next, "", bridge.Permanent(fmt.Errorf(
				"it is there and takes %s, not %q: add that subject to it, or use another stream",
				strings.Join(info.Config.Subjects, ", "), want))
		}
	}
	next, changes, err := s.changed(info)
	if what = strings.Join(changes, ", "); err != nil {
		err = unchanged(what, bridge.Permanent(err))
	}
	return next, what, err
}

func unchanged(what string, err error) error {
	return fmt.Errorf("change %s: %w: write here what the stream has, leave that out, or change the stream by hand",
		what, err)
}

// changed returns the configuration of a stream that is there as the settings want it, and what
// changes by that. What they do not name stays. An error says what would lose messages.
func (s Stream) changed(info *jetstream.StreamInfo) (next jetstream.StreamConfig, changes []string, err error) {
	next = info.Config
	want, state := s.config(next.Name), info.State
	loses := func(key string, changed, loses bool) {
		if changed && loses {
			err = errors.Join(err, fmt.Errorf("the stream would lose messages by the new %s", key))
		}
	}
	change(&changes, "storage", s.Storage != "", &next.Storage, want.Storage)
	change(&changes, "discard", s.Discard != "", &next.Discard, want.Discard)
	change(&changes, "replicas", s.Replicas != 0, &next.Replicas, want.Replicas)
	had := next.MaxMsgsPerSubject
	loses("history", change(&changes, "history", s.history != 0, &next.MaxMsgsPerSubject, s.history),
		had > s.history && state.Msgs > state.NumSubjects)
	change(&changes, "duplicates", s.Duplicates != 0, &next.Duplicates, want.Duplicates)
	loses("max_bytes", change(&changes, "max_bytes", s.MaxBytes != 0, (*bridge.Size)(&next.MaxBytes), s.MaxBytes),
		state.Bytes > uint64(want.MaxBytes))
	loses("max_msgs", change(&changes, "max_msgs", s.MaxMsgs != 0, &next.MaxMsgs, want.MaxMsgs),
		state.Msgs > uint64(want.MaxMsgs))
	loses("max_age", change(&changes, "max_age", s.MaxAge != 0, &next.MaxAge, want.MaxAge), state.Msgs > 0 &&
		info.TimeStamp.Sub(state.FirstTime) > want.MaxAge)
	if s.bucket || s.objects { // of which the settings name no duplicates, and the server takes no more than that
		change(&changes, "duplicates", next.MaxAge > 0 && next.Duplicates > next.MaxAge, &next.Duplicates, next.MaxAge)
	}
	return next, changes, err
}

// change sets a value of a stream or consumer if the settings name another one, and notes that.
func change[T comparable](changes *[]string, key string, named bool, has *T, want T) bool {
	if !named || *has == want {
		return false
	}
	*changes = append(*changes, fmt.Sprintf("%s from %v to %v", key, *has, want))
	*has = want
	return true
}

func (s Stream) config(name string) jetstream.StreamConfig {
	subjects, _ := distinct(s.Subjects)
	c := jetstream.StreamConfig{
		Name:       name,
		Subjects:   subjects,
		MaxBytes:   orUnlimited(int64(s.MaxBytes)),
		MaxMsgs:    orUnlimited(s.MaxMsgs),
		MaxAge:     s.MaxAge,
		Replicas:   s.Replicas,
		Duplicates: s.Duplicates,
	}
	if s.bucket { // as clients of NATS make one
		c.MaxMsgsPerSubject, c.AllowRollup, c.DenyDelete, c.AllowDirect = max(1, s.history), true, true, true
	}
	if s.objects {
		c.AllowRollup, c.AllowDirect = true, true
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
	if errors.As(err, &refused) && (refused.Code == http.StatusBadRequest || refused.ErrorCode == noReplicas ||
		refused.ErrorCode == invalidConfig) {
		return bridge.Permanent(err)
	}
	return err
}

// explain adds what to do about it to an error of JetStream.
func (c *conn) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: create it, or declare it under streams, a bucket under buckets", err)
	case c.api != jetstream.DefaultAPIPrefix && errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w at %s: check %s", err, c.api, c.behind)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: switch JetStream on at the server", err)
	}
	return err
}
