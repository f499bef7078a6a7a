package nats

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const (
	resetLevel = 4                      // of the JetStream API that can reset consumers; server 2.14 has it
	askEvery   = 250 * time.Millisecond // for requests that expire
)

// rewind has the consumer deliver again, at once and in order, what it has delivered and nobody has
// acknowledged. By itself that comes when its ack_wait is over, behind newer messages. Where others
// have read, too, it is theirs.
func rewind(ctx context.Context, consumer jetstream.Consumer, last *position, s *SourceSettings, env bridge.Env) error {
	info, shared := consumer.CachedInfo(), last != nil && last.Shared
	var err error
	if last != nil && !shared && info.NumWaiting > 0 {
		if info, err = awaitExpiry(ctx, consumer, env); err != nil {
			return err
		}
	}
	switch {
	case info.NumAckPending == 0:
		return nil
	case shared:
		err = errors.New("others have read with the same durable")
	case info.NumWaiting > 0:
		err = errors.New("somebody else reads with the same durable")
	case serverLevel(info) < resetLevel:
		err = errors.New("the server is older than 2.14")
	default:
		err = reset(ctx, info, s, env)
	}
	if err != nil {
		env.Logger.Warn("what was not acknowledged comes again when ack_wait is over, and behind newer messages",
			"consumer", info.Name, "messages", info.NumAckPending, "why", err)
		return ctx.Err()
	}
	_, err = consumer.Info(ctx)
	return err
}

// awaitExpiry waits until no request for messages waits at the server, or none can be of the
// instance before. To a connection that has ended without its knowledge it would send first.
func awaitExpiry(ctx context.Context, consumer jetstream.Consumer, env bridge.Env) (*jetstream.ConsumerInfo, error) {
	expires := requestExpires(consumer.CachedInfo())
	env.Logger.Info("somebody reads with the same durable, or the server does not know yet that a connection has "+
		"ended: waiting",
		"consumer", consumer.CachedInfo().Name, "longest", expires)
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for end := time.Now().Add(expires); ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		info, err := consumer.Info(ctx)
		if err != nil || info.NumWaiting == 0 || time.Now().After(end) {
			return info, err
		}
	}
}

// serverLevel returns the level of the JetStream API at the server that has the consumer.
func serverLevel(info *jetstream.ConsumerInfo) int {
	n, _ := strconv.Atoi(info.Config.Metadata["_nats.level"])
	return n
}

// reset puts the consumer back behind the last acknowledged message, by a connection of its own:
// where that is forbidden, the server's word must not end the one that reads.
func reset(ctx context.Context, info *jetstream.ConsumerInfo, s *SourceSettings, env bridge.Env) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := dial(ctx, &s.Client, env)
	if err != nil {
		return err
	}
	defer c.End()
	_, err = c.js.ResetConsumer(ctx, info.Stream, info.Name)
	if err != nil && c.IsClosed() {
		return c.Err()
	}
	return err
}
