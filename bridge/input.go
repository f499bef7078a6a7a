package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
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
		case errors.Is(err, io.EOF):
			return nil
		case IsPermanent(err) || errors.Is(err, ErrNotDrained):
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

// readOne opens an instance, reads it until an error, and closes it when
// everything that it returned is settled.
func (in *input) readOne(reading, work context.Context) error {
	source, err := openOnce(reading, in.endpoint, in.env)
	if errors.Is(err, io.EOF) {
		err = errors.New("the connection ended while opening") // not the end of the input
	}
	if err != nil {
		return fmt.Errorf("%s source: %w", in.endpoint.Type, err)
	}
	defer closeQuietly(source, in.env.Logger)
	// One that does not heed its context is closed under its feet.
	defer context.AfterFunc(work, func() { _ = source.Close() })()
	in.gauges.set(in.env.Instance, source)

	reading, stop := context.WithCancel(reading)
	defer stop()
	f := in.newFlights(work, stop)
	err = in.pump(reading, source, f)
	if failed := f.wait(); failed != nil {
		return failed
	}
	return err
}

// pump reads until an error and puts what it reads into flight.
func (in *input) pump(reading context.Context, source Source, f *flights) error {
	for {
		batch, ack, err := source.Read(reading)
		if len(batch) > 0 {
			in.backoff.reset()
			in.counters.read(len(batch))
			if failed := f.launch(batch, ack); failed != nil {
				return failed
			}
		}
		if err != nil {
			return fmt.Errorf("%s source: %w", in.endpoint.Type, err)
		}
	}
}
