package file

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// maxFollowed is how many files a source keeps open; above it, those that have been quiet
// longest are closed, and found again by their names.
const maxFollowed = 512

// closeTimeout bounds saving the checkpoint at the end.
const closeTimeout = 5 * time.Second

// follower reads files while they grow, are renamed, deleted and replaced.
// A goroutine looks for changes and opens new files at once, so that they stay
// readable if they are deleted before Read comes to them.
type follower struct {
	settings   SourceSettings
	names      names
	most       int
	log        *slog.Logger
	checkpoint bridge.Checkpoint
	saver      *bridge.Saver

	mu       sync.Mutex // guards what follows
	files    []*tracked // a file stands behind the one that it replaced
	records  []*record
	started  bool                 // the first look is done, or there is a checkpoint
	watching bool                 // the source was opened
	resuming bool                 // the first look goes on from a checkpoint
	changed  map[string]time.Time // when a path led to another file
	broken   map[string]bool
	lines    *framing.Splitter
	current  *tracked // whose bytes lines holds
	placed   bool     // a checkpoint knows all files, and their ids
	turn     int      // index of the file that was read last

	wake    chan struct{} // something may have changed
	closing chan struct{}
	once    sync.Once
	watcher sync.WaitGroup
}

var _ bridge.Source = (*follower)(nil)

func openFollower(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	f := &follower{
		settings:   *s,
		names:      newNames(),
		most:       env.MaxBatch,
		log:        env.Logger,
		checkpoint: env.Checkpoint,
		changed:    make(map[string]time.Time),
		broken:     make(map[string]bool),
		lines:      framing.NewSplitter(),
		wake:       make(chan struct{}, 1),
		closing:    make(chan struct{}),
	}
	f.saver = bridge.NewSaver(env, func() ([]byte, error) { return json.Marshal(f.places()) })
	if err := f.recall(ctx); err != nil {
		return nil, err
	}
	// Without reports of the system there is still the polling.
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		f.log.Info("the system reports no changes of files, polling only", "err", err)
		notify = nil
	}
	f.cover(notify, nil)
	paths, err := f.look()
	if err != nil {
		if notify != nil {
			_ = notify.Close()
		}
		return nil, bridge.Permanent(err)
	}
	f.cover(notify, paths)
	if len(f.files) == 0 {
		f.log.Info("no file to follow yet", "path", s.Path)
	}
	f.watching = true
	f.watcher.Go(func() { f.watch(notify) })
	return f, nil
}

func (f *follower) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		select {
		case <-f.closing:
			return nil, nil, os.ErrClosed
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		default:
		}
		if err := f.place(ctx); err != nil {
			return nil, nil, err
		}
		batch, ack, err := f.next(time.Now())
		if len(batch) > 0 || err != nil {
			return batch, ack, err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		case <-f.closing:
		}
	}
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

// next returns the next lines of any file, the files taking turns.
func (f *follower) next(now time.Time) (bridge.Batch, bridge.Ack, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.placed {
		f.nudge()
		return nil, nil, nil // a file has come since
	}
	defer f.sweep()
	if f.current != nil && f.lines.Rest() > 0 {
		if batch, ack, err := f.take(f.current, false); len(batch) > 0 || err != nil {
			return batch, ack, err
		}
	}
	for i := range f.files {
		turn := (f.turn + 1 + i) % len(f.files)
		batch, ack, err := f.read(f.files[turn], now)
		if len(batch) > 0 || err != nil {
			f.turn = turn
			return batch, ack, err
		}
	}
	return nil, nil, nil
}

// read returns the next lines of t, or of the file that t replaced as long as that has some.
func (f *follower) read(t *tracked, now time.Time) (bridge.Batch, bridge.Ack, error) {
	if t.file == nil || f.current != t && t.idle() && !t.over(now, f.settings.Grace) {
		return nil, nil, nil
	}
	if t.previous != nil {
		// When there is something in the new file, or that has gone itself, the
		// writer has left the old one, so that from now on its end is the end.
		// The order of the two questions matters.
		if t.size() == 0 && t.gone.IsZero() {
			return nil, nil, nil
		}
		batch, ack, err := f.read(t.previous, now)
		if len(batch) > 0 || err != nil || !t.previous.drained {
			return batch, ack, err
		}
		if t.previous.file == nil {
			t.previous = nil
		}
	}
	if f.current != t {
		f.turnTo(t)
	}
	for f.fill(t, now) {
		if !f.placed { // its id must be in the checkpoint first
			f.nudge()
			return nil, nil, nil
		}
		if batch, ack, err := f.take(t, false); len(batch) > 0 || err != nil {
			return batch, ack, err
		}
		if f.lines.Rest() > int64(f.settings.MaxLine) { // there may be no end to it, and others wait
			t.drained = false
			f.nudge()
			return nil, nil, nil
		}
	}
	over := t.over(now, f.settings.Grace)
	// What cannot be read by then never will be, and must not hold up what comes after it.
	t.drained = f.lines.Rest() == 0 && (over || !t.warned)
	if !over {
		return nil, nil, nil
	}
	if !t.drained {
		return f.take(t, true)
	}
	f.leave(t)
	return nil, nil, nil
}

// turnTo makes t the file whose bytes lines holds.
func (f *follower) turnTo(t *tracked) {
	if f.current != nil {
		f.current.skipped = f.lines.Skipped()
	}
	f.lines.Reset()
	f.lines.Skip(t.skipped)
	f.current = t
}

// fill reads on in t and reports whether there was something.
func (f *follower) fill(t *tracked, now time.Time) bool {
	at := t.offset + f.lines.Rest()
	n, err := t.file.ReadAt(f.lines.Room(), at)
	if err != nil && err != io.EOF {
		if !t.warned {
			f.log.Warn("cannot read a file, trying again", "path", t.path, "err", err)
		}
		t.warned = true
		return false
	}
	t.warned = false
	if n == 0 && t.size() >= at {
		return false
	}
	faceless := len(t.head) == 0
	if n == 0 || !t.sameHead() {
		f.resume(t)
		return true
	}
	f.lines.Filled(n)
	if faceless {
		f.placed = false // nothing told it from others so far
	}
	t.grown = now
	t.end = max(t.end, at+int64(n))
	return true
}

// resume goes on with a file that was truncated: behind the last line taken, if
// its writer only took back one that it could not finish, else from the start.
func (f *follower) resume(t *tracked) {
	f.lines.Reset()
	if t.holdsTaken() {
		return
	}
	f.log.Warn("a file was truncated, reading it from its start; what was unread is lost",
		"path", t.path, "unread", max(0, t.end-t.offset))
	t.offset, t.end, t.head = 0, 0, nil
	t.id, t.acked, f.placed = newID(), newOffset(0), false
}

// leave gives a file up that is read to its end and has gone.
func (f *follower) leave(t *tracked) {
	if r := t.close(); !deleted(r.info) {
		f.records = append(f.records, r)
	}
	f.current = nil
	f.lines.Reset()
}

// sweep forgets the files that were closed.
func (f *follower) sweep() {
	f.files = slices.DeleteFunc(f.files, func(t *tracked) bool { return t.file == nil })
}

func (f *follower) take(t *tracked, last bool) (bridge.Batch, bridge.Ack, error) {
	_, before := f.lines.Taken()
	limit := int(f.settings.MaxLine)
	batch, ack, long := f.lines.Lines(t.path, f.most, limit, last)
	if len(batch) == 0 {
		return nil, nil, nil
	}
	err := refuse(long, limit, t.path, t.offset-before)
	identify(batch, long, t.id, t.offset)
	_, after := f.lines.Taken()
	t.offset += after - before
	return batch, f.acknowledge(ack, t.acked, t.offset), err
}

// acknowledge makes an ack of that of the lines before offset. It may be called when the file has
// long been cut and written anew, which has an offset of its own.
func (f *follower) acknowledge(ack bridge.Ack, acked *atomic.Int64, offset int64) bridge.Ack {
	return func(ctx context.Context, refused error) error {
		if err := ack(ctx, refused); err != nil || refused != nil {
			return err
		}
		acked.Store(offset)
		return f.saver.Delivered(ctx)
	}
}

// Close saves how far the pipeline has come.
func (f *follower) Close() (err error) {
	f.once.Do(func() {
		close(f.closing)
		f.watcher.Wait()
		if f.watching {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			err = f.saver.Close(ctx)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, t := range f.files {
			_ = t.file.Close()
			t.file = nil
		}
		f.files = nil
	})
	return err
}
