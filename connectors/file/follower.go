package file

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// closeTimeout bounds saving the checkpoint at the end.
const closeTimeout = 5 * time.Second

// multilineFlush is after which time a message of several lines is taken for whole, unless the
// settings say another one.
const multilineFlush = 5 * time.Second

// follower reads files while they grow, are renamed, deleted and replaced.
// A goroutine looks for changes and opens new files at once, so that they stay
// readable if they are deleted before Read comes to them.
type follower struct {
	settings SourceSettings
	charset  charset
	most     int
	log      *slog.Logger
	dropped  func(int)
	saver    *bridge.Saver

	mu       sync.Mutex         // guards what follows
	table    map[inode]*tracked // the files that are there, by device and number
	orphans  []*tracked         // records without a file
	streams  map[string]*stream // by path
	standing map[string]*tracked
	held     map[inode]*stranger
	queue    []*stream // may have something to read
	handles  *handles
	scan     int
	started  bool     // there was a look before, or a checkpoint
	followed []string // the patterns that the checkpoint is of
	warned   map[string]bool
	lines    *framing.Splitter
	current  *tracked // whose bytes lines holds
	placed   bool     // a checkpoint knows all files, and their ids

	wake    chan struct{} // there may be something to read
	search  chan struct{} // something is missing
	closing chan struct{}
	once    sync.Once
	watcher sync.WaitGroup
}

// stream is the files that stood at one path, one after the other.
type stream struct {
	path    string
	files   []*tracked // as they were written
	stood   *tracked   // at path, when that was looked at last
	changed time.Time  // when that was another one; zero: long ago
	queued  bool
}

var _ bridge.Source = (*follower)(nil)

func openFollower(ctx context.Context, s *SourceSettings, env bridge.Env, c charset, open *handles) (bridge.Source, error) {
	f := &follower{
		settings: *s,
		charset:  c,
		most:     env.MaxBatch,
		log:      env.Logger,
		dropped:  env.Dropped,
		table:    make(map[inode]*tracked),
		streams:  make(map[string]*stream),
		held:     make(map[inode]*stranger),
		warned:   make(map[string]bool),
		handles:  open,
		lines:    newSplitter(s, c),
		wake:     make(chan struct{}, 1),
		search:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
	}
	if s.Codec.Kind == "multiline" && s.FlushAfter == 0 {
		f.settings.FlushAfter = multilineFlush
	}
	f.saver = bridge.NewSaver(env, f.save)
	if err := f.recall(ctx, env.Checkpoint); err != nil {
		return nil, err
	}
	// Without reports of the system there is still the polling.
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		f.log.Info("the system reports no changes of files, polling only", "err", err)
		notify = nil
	}
	f.cover(notify, nil)
	paths := f.look()
	f.cover(notify, paths)
	for _, p := range s.Path {
		if !slices.ContainsFunc(paths, func(path string) bool { return matchesAny([]string{p}, path) }) {
			f.log.Warn("no file to follow yet, waiting for one", "path", p, "now", absent(p))
		}
	}
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

// next returns the next lines of any file, the paths taking turns.
func (f *follower) next(now time.Time) (bridge.Batch, bridge.Ack, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != nil && f.lines.Rest() > 0 && f.placed {
		if batch, ack, err := f.take(f.current, false); len(batch) > 0 || err != nil {
			return batch, ack, err
		}
	}
	for range len(f.queue) {
		if !f.placed {
			break
		}
		s := f.queue[0]
		f.queue = f.queue[1:]
		s.queued = false
		batch, ack, err, more := f.readStream(s, now)
		if more || len(batch) > 0 {
			f.enqueue(s)
		}
		if len(batch) > 0 || err != nil {
			return batch, ack, err
		}
	}
	if len(f.queue) > 0 {
		nudge(f.wake) // a file has come since, or there is more than could be read at once
	}
	return nil, nil, nil
}

func (f *follower) enqueue(s *stream) {
	if !s.queued {
		s.queued = true
		f.queue = append(f.queue, s)
	}
}

// Close saves how far the pipeline has come.
func (f *follower) Close() (err error) {
	f.once.Do(func() {
		close(f.closing)
		f.watcher.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = f.saver.Close(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, t := range f.table {
			f.shut(t)
		}
		for _, s := range f.held {
			s.close()
			f.handles.used.Add(-1)
		}
	})
	return err
}

// warn logs something once about what has that name.
func (f *follower) warn(name, text string, args ...any) {
	if !f.warned[name+text] {
		f.warned[name+text] = true
		f.log.Warn(text, args...) //nolint:sloglint // a constant of the caller
	}
}
