package plugin

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// checkpoint is the Checkpoint of a source in a plugin: Save returns when the bridge has it.
type checkpoint struct {
	saving chan struct{} // holds a token while nobody saves
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex    // guards the rest
	number  uint64        // of the newest
	data    []byte        // the newest
	wanted  chan struct{} // closed when there is one to fetch
	settled chan error    // outcome of the one that is being saved
}

var _ bridge.Checkpoint = (*checkpoint)(nil)

func newCheckpoint(data []byte) *checkpoint {
	c := &checkpoint{data: data, saving: make(chan struct{}, 1), closed: make(chan struct{}), wanted: make(chan struct{})}
	c.saving <- struct{}{}
	return c
}

func (c *checkpoint) Load(context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.data) == 0 {
		return nil, nil
	}
	return bytes.Clone(c.data), nil
}

var errNotKept = errors.New("save checkpoint: the instance is closed")

func (c *checkpoint) Save(ctx context.Context, b []byte) error {
	select {
	case <-c.saving:
	case <-c.closed:
		return errNotKept
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.saving <- struct{}{} }()
	settled := make(chan error, 1)
	c.mu.Lock()
	c.number++
	c.data, c.settled = bytes.Clone(b), settled
	if !isClosed(c.wanted) {
		close(c.wanted)
	}
	c.mu.Unlock()
	select {
	case err := <-settled:
		return err
	case <-c.closed:
		return errNotKept
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next takes the outcome of the checkpoint before and waits for one that is newer.
func (c *checkpoint) next(ctx context.Context, r *pluginpb.NextCheckpointRequest) *pluginpb.NextCheckpointResponse {
	c.mu.Lock()
	if c.settled != nil && r.GetKept() == c.number {
		c.settled <- r.GetError().Err()
		c.settled = nil
	}
	if r.GetKept() == c.number && isClosed(c.wanted) {
		c.wanted = make(chan struct{})
	}
	wanted := c.wanted
	c.mu.Unlock()

	late := time.NewTimer(time.Duration(r.GetWaitMs()) * time.Millisecond)
	defer late.Stop()
	select {
	case <-wanted:
		c.mu.Lock()
		defer c.mu.Unlock()
		return &pluginpb.NextCheckpointResponse{Number: c.number, Checkpoint: c.data}
	case <-late.C:
	case <-c.closed:
	case <-ctx.Done():
	}
	return new(pluginpb.NextCheckpointResponse)
}

func (c *checkpoint) close() { c.once.Do(func() { close(c.closed) }) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
