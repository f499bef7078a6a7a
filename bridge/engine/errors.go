package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// joinOnce joins errors, each once: that the drain was cut short, all of them may say.
func joinOnce(errs ...error) (joined error) {
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil && !errors.Is(joined, err):
			joined = errors.Join(joined, err)
		}
	}
	return joined
}

// each returns the errors that err joins.
func each(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		all = append(all, each(e)...)
	}
	return all
}

// guard makes a call into a connector and turns a panic into an error, so that a broken connector
// stops its own pipeline at most. The error is permanent unless a message may be to blame.
func guard(log *slog.Logger, permanent bool, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic in a connector", "panic", p, "stack", string(debug.Stack()))
			if err = fmt.Errorf("panic: %v", p); permanent {
				err = bridge.Permanent(err)
			}
		}
	}()
	return f()
}
