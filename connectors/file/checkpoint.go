package file

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// checkpoint is what is saved.
type checkpoint struct {
	Paths []string `json:"paths"` // the patterns
	Files []record `json:"files"`
}

// save returns the checkpoint.
func (f *follower) save() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []record{} // that there is none is worth saving
	add := func(t *tracked) {
		held := 0
		if t == f.current {
			held = f.lines.Held()
		}
		all = append(all, t.state(held))
	}
	for _, s := range f.streams {
		for _, t := range s.files { // in their order
			add(t)
		}
	}
	for _, list := range []func(func(*tracked) bool){maps.Values(f.table), slices.Values(f.orphans)} {
		for t := range list {
			if t.stream == nil {
				add(t)
			}
		}
	}
	return json.Marshal(checkpoint{f.settings.Path, all})
}

// recall loads the checkpoint, if there is one, so that the first look goes on where the last
// instance ended.
func (f *follower) recall(ctx context.Context, c bridge.Checkpoint) error {
	data, err := c.Load(ctx)
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	if data == nil {
		return nil
	}
	f.started = true
	var saved checkpoint
	if err := json.Unmarshal(data, &saved); err != nil {
		return bridge.Permanent(fmt.Errorf("load checkpoint: %w", err))
	}
	f.followed = saved.Paths
	for _, r := range saved.Files {
		if !r.sound() {
			return bridge.Permanent(fmt.Errorf("load checkpoint: what it has of %q cannot be; "+
				"xrtcbridge state reset makes it begin anew", r.Path))
		}
		if !matchesAny(f.settings.Path, r.Path) {
			continue
		}
		t := &tracked{record: r, offset: r.Offset, leading: r.Offset == 0, seen: time.Now()}
		t.saved = &point{offset: r.Offset}
		t.acked.Store(t.saved)
		if !r.Done && !r.Left {
			s := f.stream(r.Path)
			s.files, t.stream = append(s.files, t), s
			if r.At == r.Path {
				s.stood = t
			}
		}
		key := r.Inode.key()
		if t.missing = key.Number == 0 || f.table[key] != nil; t.missing {
			f.orphans = append(f.orphans, t)
		} else {
			f.table[key] = t
		}
	}
	return nil
}

// place saves the checkpoint if there are files that it does not know: where it began must be known
// to the next instance, whether anything is delivered or not, and a line that comes again must have
// the id that it had.
func (f *follower) place(ctx context.Context) error {
	f.mu.Lock()
	placed := f.placed
	f.placed = true
	f.mu.Unlock()
	if placed {
		return nil
	}
	err := f.saver.Save(ctx)
	if err != nil {
		f.mu.Lock()
		f.placed = false
		f.mu.Unlock()
	}
	return err
}
