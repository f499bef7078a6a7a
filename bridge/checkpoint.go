package bridge

import (
	"bytes"
	"context"
	"sync"
)

// MemoryCheckpoint is a [Checkpoint] that lives as long as the process. The zero value is ready.
type MemoryCheckpoint struct {
	mu   sync.Mutex // guards data
	data []byte
}

var _ Checkpoint = (*MemoryCheckpoint)(nil)

// Load returns a copy of what was saved last, nil if nothing was.
func (c *MemoryCheckpoint) Load(context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.data), nil
}

// Save keeps a copy of b.
func (c *MemoryCheckpoint) Save(_ context.Context, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data = append(c.data[:0], b...)
	return nil
}
