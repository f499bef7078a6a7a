package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// openTimeout bounds one attempt to open a connector.
const openTimeout = 30 * time.Second

// output is one sink of a running pipeline. It keeps an instance open in the background, and
// replaces one that returned an error.
type output struct {
	*place
	endpoint bridge.Endpoint[bridge.Sink]
	end      *end
	leave    <-chan struct{} // once it is closed, nobody waits for an instance any more; nil: never
	share    *queue          // nil: there is one write at a time
	spare    bool            // another branch takes the messages that this one does not
	changed  *signal         // an instance was opened, or could not be

	ctx     context.Context //nolint:containedctx // until close
	cancel  context.CancelFunc
	keeping sync.WaitGroup
	lost    chan struct{} // has one when there is another instance to open

	open atomic.Pointer[opened] // nil: not open

	mu      sync.Mutex // guards what follows
	backoff backoff
	next    time.Time // when the next instance may be opened
	tried   bool
	over    bool  // no instance can be opened, ever
	err     error // why it is not open
}

// opened is an open instance.
type opened struct {
	bridge.Sink
	at     time.Time
	worked atomic.Bool // something was settled
}

var errNotOpen = errors.New("it is not open")

// start begins to keep an instance open, unless the output is closed.
func (o *output) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() == nil {
		o.keeping.Go(o.keep)
	}
}

func (o *output) keep() {
	for next := o.env.Clock.Now(); o.env.Clock.Sleep(o.ctx, next.Sub(o.env.Clock.Now())); {
		s, err := openOnce(o.ctx, o.endpoint, o.env)
		if err != nil {
			err = fmt.Errorf("%s: %w", o, err)
			o.end.failed(o.ctx, err)
		}
		o.mu.Lock()
		o.tried = true
		switch {
		case err == nil:
			o.err = errNotOpen // when it is lost
			o.open.Store(&opened{Sink: s, at: o.env.Clock.Now()})
			o.end.opened.Store(true)
		case o.ctx.Err() != nil:
		case bridge.IsPermanent(err) && !o.spare:
			o.over, o.err = true, err
		default:
			o.pause("cannot open, will try again", err)
		}
		o.mu.Unlock()
		o.changed.broadcast()
		select {
		case <-o.lost:
		case <-o.ctx.Done():
			return
		}
		o.mu.Lock()
		next = o.next
		o.mu.Unlock()
	}
}

// pause has the next instance opened after a while. The lock must be held.
func (o *output) pause(what string, err error) {
	attempt, wait := o.backoff.next()
	if o.spare {
		what += "; another branch takes the messages"
	}
	o.err = err
	o.env.Logger.Log(context.Background(), level(attempt), what, //nolint:sloglint // one of a few texts
		"err", err, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
	o.next = o.env.Clock.Now().Add(wait)
	o.lost <- struct{}{}
}

// failed closes the instance s, unless that has been done already, and has another one opened.
func (o *output) failed(s *opened, cause error) {
	if !o.open.CompareAndSwap(s, nil) {
		return
	}
	closeQuietly(s, o.env.Logger)
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.worked.Load() {
		o.backoff.attempt = 0
	}
	o.backoff.resetIfWell(s.at)
	o.pause("write failed, will open again", fmt.Errorf("%s: %w", o, cause))
}

// uses reports whether s is the instance in use: one that is not was closed by us.
func (o *output) uses(s *opened) bool { return o.open.Load() == s }

// attempted reports whether the output has been tried to open, and if it is not open, why.
func (o *output) attempted() (tried bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open.Load() == nil {
		err = o.err
	}
	return o.tried, err
}

// await returns the open instance, waiting until there is one, unless there can be none or ctx is
// done. With once it does not wait.
func (o *output) await(ctx context.Context, once bool) (*opened, error) {
	for {
		if s := o.open.Load(); s != nil {
			return s, nil
		}
		changed := o.changed.wait()
		o.mu.Lock()
		over, err := o.over || once, o.err
		o.mu.Unlock()
		switch {
		case o.open.Load() != nil:
			continue
		case over:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-o.leave:
			return nil, ErrNotDrained
		}
	}
}

// close closes the instance and opens no more.
func (o *output) close() {
	o.mu.Lock()
	o.cancel()
	o.mu.Unlock()
	o.keeping.Wait()
	if s := o.open.Swap(nil); s != nil {
		closeQuietly(s, o.env.Logger)
	}
}

// openOnce opens one instance, within openTimeout.
func openOnce[T any](ctx context.Context, e bridge.Endpoint[T], env bridge.Env) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var instance T
	err := guard(env.Logger, true, func() (err error) {
		instance, err = e.Open(ctx, env)
		return err
	})
	if err == nil {
		env.Logger.InfoContext(ctx, "opened")
	}
	return instance, err
}

func closeQuietly(c interface{ Close() error }, log *slog.Logger) {
	if err := guard(log, true, c.Close); err != nil {
		log.Warn("close", "err", err)
		return
	}
	log.Info("closed")
}
