package bridge

import (
	"errors"
	"fmt"
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

// Whole marks err as the reason of a [Refusal] by a source of a message that is whole, so that a
// replay can deliver it as it is.
func Whole(err error) error { return whole{err} }

// IsWhole reports whether err is [Whole].
func IsWhole(err error) bool {
	_, is := errors.AsType[whole](err)
	return is
}

type whole struct{ error }

func (w whole) Unwrap() error { return w.error }

// KeyError is returned, alone or joined with others, by the Validate method of
// settings. The configuration adds the place of the key in the file.
type KeyError struct {
	Key string // name of the guilty key in YAML, with dots for nesting: "rotate.size"
	Err error  // what is wrong and what to do
}

// KeyErrorf returns a [KeyError] with what [fmt.Errorf] makes of the rest.
func KeyErrorf(key, format string, args ...any) error {
	return &KeyError{Key: key, Err: fmt.Errorf(format, args...)}
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *KeyError) Unwrap() error { return e.Err }
