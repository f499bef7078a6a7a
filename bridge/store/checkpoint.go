package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// checkpoint is the checkpoint of one source.
type checkpoint struct {
	store              *Store
	pipeline, instance string
}

// Checkpoint returns the checkpoint of a source. One whose two generations are both damaged cannot
// be loaded, since to begin anew might leave something out.
func (s *Store) Checkpoint(pipeline, instance string) bridge.Checkpoint {
	return &checkpoint{s, pipeline, instance}
}

func (c *checkpoint) Load(ctx context.Context) ([]byte, error) {
	n, err := c.store.open(ctx)
	if err != nil {
		return nil, err
	}
	data, err := n.load(ctx, c.store.names.checkpoint(c.pipeline, c.instance))
	if damage, damaged := errors.AsType[*damageError](err); damaged {
		if damage.older {
			c.store.log.Warn("the newest checkpoint is damaged, going on from the one before it: "+
				"some messages come again", "pipeline", c.pipeline, "instance", c.instance)
			return data, nil
		}
		return nil, bridge.Permanent(fmt.Errorf("both generations of the checkpoint are damaged: "+
			"to let the source begin anew, run xrtcbridge state reset %s", c.pipeline))
	}
	return data, err
}

func (c *checkpoint) Save(ctx context.Context, b []byte) error {
	n, err := c.store.open(ctx)
	if err != nil {
		return err
	}
	return n.save(ctx, c.store.names.checkpoint(c.pipeline, c.instance), b)
}

// A generation is "XBC1", the CRC-32C of the data, and the data.
const (
	generationMagic = "XBC1"
	generationFixed = 8
)

func seal(data []byte) []byte {
	to := append(make([]byte, 0, generationFixed+len(data)), generationMagic...)
	to = binary.LittleEndian.AppendUint32(to, crc32.Checksum(data, castagnoli))
	return append(to, data...)
}

func unseal(b []byte) ([]byte, bool) {
	if len(b) < generationFixed || string(b[:4]) != generationMagic {
		return nil, false
	}
	data := b[generationFixed:]
	return data, crc32.Checksum(data, castagnoli) == binary.LittleEndian.Uint32(b[4:])
}

// damageError says that the newest generation is damaged.
type damageError struct{ older bool } // there is an older one, which was returned

func (e *damageError) Error() string { return "checkpoint is damaged" }

// load returns the newest generation that is whole, nil if there never was one. The error may be a
// damageError.
func (n *session) load(ctx context.Context, subject string) ([]byte, error) {
	for i, request := range []map[string]any{{"last_by_subj": subject}, {"seq": 1, "next_by_subj": subject}} {
		m, err := n.get(ctx, n.state, request)
		switch {
		case err != nil:
			n.suspect(ctx, err)
			return nil, n.failed(ctx, "load checkpoint", err)
		case m == nil && i == 0:
			return nil, nil
		case m == nil:
			continue
		}
		if data, ok := unseal(m.Data); ok && i > 0 {
			return data, &damageError{older: true}
		} else if ok {
			return data, nil
		}
	}
	return nil, &damageError{}
}

// save stores one more generation and returns when it is durable.
func (n *session) save(ctx context.Context, subject string, data []byte) error {
	limited, cancel := n.patience(ctx, answerTimeout, false)
	defer cancel()
	crashpoint.Reach(crashpoint.CheckpointSaving)
	if _, err := n.js.Publish(limited, subject, seal(data)); err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return bridge.Permanent(
				fmt.Errorf("save checkpoint: it has %v, and the server of the state takes %v at most",
					bridge.Size(len(data)), bridge.Size(n.nc.MaxPayload())))
		}
		n.suspect(ctx, err)
		return n.failed(ctx, "save checkpoint", err)
	}
	crashpoint.Reach(crashpoint.CheckpointSaved)
	return nil
}
