package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

const (
	probeStream  = "xrtcbridge-probe"
	probeSubject = natsclient.OwnSubjects + "probe"
	probeTimeout = 10 * time.Second
)

// The server's codes for a store that has reached its limit, when a message is published and when a stream is made.
const (
	storeFull      = 10023
	storeFullToAdd = 10047
)

// probe writes to a stream and reads it back. The server calls itself ready and JetStream enabled
// even when its store does not work. The stream stays: the server removes the folder of its account
// some time after the last stream is deleted, under the feet of whoever makes the next one.
func (e *Server) probe(ctx context.Context, n NATS, log *slog.Logger) (err error) {
	defer func() {
		var refused *jetstream.APIError
		if errors.As(err, &refused) && (refused.ErrorCode == storeFull || refused.ErrorCode == storeFullToAdd) {
			// It works, and can only be emptied by a server that runs.
			log.Warn("the embedded server's store is full: it refuses messages until there is room, "+
				"or max_store is larger", "store", e.store.dir)
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("probe embedded server: %w", err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	nc, err := nats.Connect("", append(natsclient.Options("xrtcbridge probe"),
		nats.InProcessServer(e.nats), nats.UserInfo(n.Username, n.Password.Reveal()))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: probeStream, Subjects: []string{probeSubject}, MaxMsgs: 1,
		Description: "shows at each start that the store works; always one message",
	})
	if err != nil {
		return err
	}
	written, err := js.Publish(ctx, probeSubject, []byte("probe"))
	if err != nil {
		return err
	}
	read, err := stream.GetMsg(ctx, written.Sequence)
	if err != nil {
		return err
	}
	if string(read.Data) != "probe" {
		return fmt.Errorf("the store returned %q instead of what was written", read.Data)
	}
	return nil
}
