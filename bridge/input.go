package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// input is one source of a running pipeline.
type input struct {
	*run
	*place
	endpoint Endpoint[Source]
	end      *end
	backoff  backoff
	over     func()    // it reads no more
	since    time.Time // when the last instance was opened
}

// reading is one instance of a source.
type reading struct {
	in      *input
	refused bool // a batch was given back, and so are those behind it; belongs to who settles

	owed sync.WaitGroup // batches
}

// readAll opens instances, one after the other, until the source is
// finished, reading is done or something permanent fails.
func (in *input) readAll(ctx context.Context) {
	in.over = sync.OnceFunc(in.finish)
	defer in.over()
	for {
		in.since = time.Time{}
		err := in.readOne(ctx)
		switch {
		case IsPermanent(err):
			in.end.set(PhaseFailed, err)
			in.fail(err)
			return
		case err == nil:
			return
		case ctx.Err() != nil:
			if !in.end.opened() {
				in.end.interrupted(err)
			}
			in.stopped()
			return
		}
		if !in.since.IsZero() && time.Since(in.since) >= in.backoff.longest() {
			in.backoff.reset()
		}
		attempt, wait := in.backoff.next()
		in.place.env.Logger.Log(ctx, level(attempt), "cannot read, will open again",
			"err", err, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
		in.end.set(PhaseConnecting, err)
		sleep(ctx, wait)
	}
}

// stopped notes what a stop has kept the source from.
func (in *input) stopped() {
	switch {
	case !in.told(): // something else has failed
	case !in.end.opened():
		in.fail(neverConnected(in.place, in.end))
	case in.endpoint.Ends:
		in.fail(cut(in.place, in.end))
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
	in.since = time.Now()
	in.end.set(PhaseRunning, nil)
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
	case err == nil:
		in.end.set(PhaseFinished, nil)
	case IsPermanent(err):
		in.fail(err) // what is in flight has no longer than a drain
	case ctx.Err() == nil:
		in.giveUp(rd)
		return err
	}
	in.over()
	rd.owed.Wait()
	return err
}

// pump reads until the end of the input, a stop or an error, and sends what it reads on its way.
func (in *input) pump(ctx context.Context, source Source, rd *reading) error {
	// A source that always has something may never look at its context.
	for ctx.Err() == nil {
		batch, ack, err := in.read(ctx, source)
		said, isRefusal := err.(Refusals) //nolint:errorlint // wrapped, it is an error of the instance
		if isRefusal {
			err = nil
		}
		if len(batch) > 0 {
			in.backoff.reset()
			crashpoint.Reach(crashpoint.Received)
			in.launch(rd, batch, ack, said)
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

func (in *input) read(ctx context.Context, source Source) (batch Batch, ack Ack, err error) {
	err = guard(in.place.env.Logger, func() (err error) {
		batch, ack, err = source.Read(ctx)
		return err
	})
	return batch, ack, err
}
