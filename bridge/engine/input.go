package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// input is one source of a running pipeline.
type input struct {
	*run
	*place
	endpoint bridge.Endpoint[bridge.Source]
	end      *end
	backoff  backoff
	over     func()    // it reads no more
	since    time.Time // when the last instance was opened
	portion  int       // how many messages to send on their way at once, if that is less than a batch
}

// reading is one instance of a source.
type reading struct {
	in      *input
	refused bool        // a batch was given back, and so are those behind it; belongs to who settles
	failed  atomic.Bool // a batch could not be delivered, and will be

	owed sync.WaitGroup // batches
}

// readAll opens instances, one after the other, until the source is
// finished, reading is done or something permanent fails.
func (in *input) readAll(ctx context.Context) {
	in.over = sync.OnceFunc(func() { in.finish(ctx) })
	defer in.over()
	for {
		in.since = time.Time{}
		err := in.readOne(ctx)
		in.end.failed(ctx, err)
		switch {
		case bridge.IsPermanent(err):
			in.fail(err)
			return
		case err == nil:
			return
		case ctx.Err() != nil:
			in.stopped()
			return
		}
		in.backoff.resetIfWell(in.since)
		attempt, wait := in.backoff.next()
		in.place.env.Logger.Log(ctx, level(attempt), "cannot read, will open again",
			"err", err, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
		in.Clock.Sleep(ctx, wait)
	}
}

// stopped notes what a stop has kept the source from.
func (in *input) stopped() {
	switch {
	case !in.told(): // something else has failed
	case !in.end.opened.Load():
		in.fail(neverConnected(in.place, in.end))
	case in.endpoint.Ends:
		in.fail(cut(in.place, in.end, in.endpoint.Guarantee.Why))
	}
}

// readOne opens an instance, reads it to the end of the input (nil), a stop or an error, and
// closes it when everything that it returned is settled.
func (in *input) readOne(ctx context.Context) error {
	env := in.place.env
	env.Checkpoint = in.checkpoint(env.Instance)
	env.Progress = in.end.progress
	source, err := openOnce(ctx, in.endpoint, env)
	if err != nil {
		return fmt.Errorf("%s: %w", in.place, err)
	}
	in.since = in.Clock.Now()
	in.end.opened.Store(true)
	shut := sync.OnceFunc(func() { closeQuietly(source, env.Logger) })
	defer shut()
	// One that does not heed its context is closed under its feet, but not
	// before what it returned had time to be settled.
	over := make(chan struct{})
	defer close(over)
	defer context.AfterFunc(in.work, func() {
		select {
		case <-over:
		case <-time.After(nackTimeout):
			shut()
		}
	})()

	rd := &reading{in: in}
	err = in.pump(ctx, source, rd)
	switch {
	case bridge.IsPermanent(err):
		in.fail(err) // what is in flight has no longer than a drain
	case err != nil && ctx.Err() == nil:
		in.giveUp(rd)
		return err
	}
	in.over()
	rd.owed.Wait()
	return err
}

// pump reads until the end of the input, a stop or an error, and sends what it reads on its way.
func (in *input) pump(ctx context.Context, source bridge.Source, rd *reading) error {
	// A source that always has something may never look at its context.
	for ctx.Err() == nil {
		var batch bridge.Batch
		var ack bridge.Ack
		err := guard(in.place.env.Logger, true, func() (err error) {
			batch, ack, err = source.Read(ctx)
			return err
		})
		said, isRefusal := err.(bridge.Refusals) //nolint:errorlint // wrapped, it is an error of the instance
		if isRefusal {
			err = nil
		}
		if len(batch) > 0 {
			in.backoff.attempt = 0
			crashpoint.Reach(crashpoint.Received)
			in.launch(ctx, rd, batch, ack, said)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // one that is wrapped is a connection that broke
			return nil
		case err == nil && len(batch) == 0:
			err = errors.New("nothing was read, without an error")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in.place, err)
		}
	}
	return ctx.Err()
}
