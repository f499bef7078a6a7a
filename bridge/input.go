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
	endpoint Endpoint[Source]
	env      Env
	backoff  backoff
}

// readAll opens instances, one after the other, until the source is
// finished, reading is done or something permanent fails.
func (in *input) readAll(reading, work context.Context) error {
	for {
		err := in.readOne(reading, work)
		switch {
		case err == nil || IsPermanent(err) || errors.Is(err, ErrNotDrained):
			return err
		case reading.Err() != nil:
			return nil //nolint:nilerr // told to stop: an interrupted read is no failure
		}
		attempt, wait := in.backoff.next()
		in.env.Logger.WarnContext(reading, "cannot read, will open again",
			"err", err, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
		if !sleep(reading, wait) {
			return nil
		}
	}
}

// readOne opens an instance, reads it to the end of the input (nil) or an error, and
// closes it when everything that it returned is settled.
func (in *input) readOne(reading, work context.Context) error {
	source, err := openOnce(reading, in.endpoint, in.env)
	if err != nil {
		return fmt.Errorf("%s source: %w", in.endpoint.Type, err)
	}
	shut := sync.OnceFunc(func() { closeQuietly(source, in.env.Logger) })
	defer shut()
	// One that does not heed its context is closed under its feet, but not
	// before what it returned had time to be settled.
	over := make(chan struct{})
	defer close(over)
	defer context.AfterFunc(work, func() {
		select {
		case <-over:
		case <-time.After(nackTimeout):
			shut()
		}
	})()
	in.gauges.set(in.env.Instance, source)

	f := in.newFlights(work)
	err = in.pump(reading, source, f)
	if IsPermanent(err) {
		in.stop() // what is in flight has no longer than a drain
	}
	if failed := f.wait(); failed != nil {
		return failed
	}
	return err
}

// pump reads until the end of the input or an error and puts what it reads into flight.
func (in *input) pump(reading context.Context, source Source, f *flights) error {
	// A source that always has something may never look at its context.
	for reading.Err() == nil {
		batch, ack, err := in.read(reading, source)
		if len(batch) > 0 {
			in.backoff.reset()
			in.counters.read(len(batch))
			crashpoint.Reach(crashpoint.Received)
			f.launch(batch, ack)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // one that is wrapped is a connection that broke
			return nil
		case err == nil && len(batch) == 0:
			err = errors.New("nothing was read, without an error")
		}
		if err != nil {
			return fmt.Errorf("%s source: %w", in.endpoint.Type, err)
		}
	}
	return reading.Err()
}

func (in *input) read(ctx context.Context, source Source) (batch Batch, ack Ack, err error) {
	err = guard(in.env.Logger, func() (err error) {
		batch, ack, err = source.Read(ctx)
		return err
	})
	return batch, ack, err
}
