package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Permanent marks err as one that trying again cannot mend. It returns nil if err is nil.
// What follows from it is said at the call that returned it: [Source.Read],
// [Sink.Write], [Opener].
func Permanent(err error) error {
	if err == nil || IsPermanent(err) {
		return err
	}
	return permanent{err}
}

// IsPermanent reports whether err, or an error that it wraps, is [Permanent].
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// KeyError is returned, alone or joined with others, by the Validate method of
// settings. The configuration adds the place of the key in the file.
type KeyError struct {
	Key string // name of the guilty key in YAML, with dots for nesting: "rotate.size"
	Err error  // what is wrong and what to do
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *KeyError) Unwrap() error { return e.Err }

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

// guard makes a call into a connector and turns a panic into a permanent error, so that a broken
// connector stops its own pipeline only.
func guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic in a connector", "panic", p, "stack", string(debug.Stack()))
			err = Permanent(fmt.Errorf("panic: %v", p))
		}
	}()
	return f()
}
