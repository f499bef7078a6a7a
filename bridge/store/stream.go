package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const (
	defaultMaxBytes = 1 << 30
	leastMaxBytes   = 4 << 20
)

// makeStream makes or updates a stream. If nobody said how large it may be, it takes what there is room for.
func (n *session) makeStream(ctx context.Context, config jetstream.StreamConfig, hint string) (jetstream.Stream, error) {
	given := config.MaxBytes > 0
	if !given {
		config.MaxBytes = defaultMaxBytes
	}
	for {
		stream, err := n.js.CreateOrUpdateStream(ctx, config)
		if !isNoRoom(err) {
			return stream, err
		}
		if given || config.MaxBytes/2 < leastMaxBytes {
			return nil, bridge.Permanent(fmt.Errorf("there is no room for %v in %s: %s, raise state.max_size, "+
				"or make room on the disk",
				bridge.Size(config.MaxBytes), n.where, hint))
		}
		config.MaxBytes /= 2
	}
}

// Codes of the server's answers, see errors.json of nats-server.
const (
	codeNoRoomToMessage    = 10023
	codeNoMessage          = 10037
	codeNoRoomToAdd        = 10047
	codeNoStream           = 10059
	codeWrongLast          = 10071
	codeStoreFailed        = 10077
	codeWrongLastUnchanged = 10164
)

func answered(err error, codes ...jetstream.ErrorCode) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) && slices.Contains(codes, answer.ErrorCode)
}

func isNoRoom(err error) bool { return answered(err, codeNoRoomToMessage, codeNoRoomToAdd) }

// message is one of a stream.
type message struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// get asks the leader of a stream for a message, since a replica may not know the newest ones. nil
// means that there is none, or no such stream.
func (n *session) get(ctx context.Context, stream string, request map[string]any) (*message, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := n.patience(ctx, letterTimeout, true)
	defer cancel()
	m, err := n.nc.RequestWithContext(ctx, n.api+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *message            `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("read an answer of the server: %w", err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == codeNoMessage || answer.Error.ErrorCode == codeNoStream {
			return nil, nil
		}
		return nil, answer.Error
	}
	return answer.Message, nil
}

// lastRecord returns the newest message of the newest record that is whole, and the checksum of
// that, which is 0 if there is none.
func (n *session) lastRecord(ctx context.Context, info *jetstream.StreamInfo) (newest mark, sum uint32, err error) {
	for seq := info.State.LastSeq; info.State.Msgs > 0 && seq >= info.State.FirstSeq; seq-- {
		m, err := n.get(ctx, info.Config.Name, map[string]any{"seq": seq})
		if err != nil {
			return mark{}, 0, err
		}
		if m == nil {
			continue
		}
		if first, count, err := recordNumbers(m.Data); err == nil {
			return mark{Number: first + uint64(count) - 1, Seq: seq}, recordSum(m.Data), nil
		}
	}
	return mark{Seq: info.State.LastSeq}, 0, nil
}

// firstRecord returns the first message of the oldest record that is whole, and when that was
// stored. The number is 1 if there is none.
func (n *session) firstRecord(ctx context.Context, info *jetstream.StreamInfo) (oldest mark, at time.Time, err error) {
	for seq := info.State.FirstSeq; info.State.Msgs > 0; {
		m, err := n.get(ctx, info.Config.Name, map[string]any{"seq": max(1, seq), "next_by_subj": info.Config.Subjects[0]})
		if err != nil {
			return mark{}, at, err
		}
		if m == nil {
			break
		}
		if first, _, err := recordNumbers(m.Data); err == nil {
			return mark{Number: first, Seq: m.Seq}, m.Time, nil
		}
		seq = m.Seq + 1
	}
	return mark{Number: 1}, at, nil
}
