package pluginpb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// NewError returns err as a message, nil if err is nil.
func NewError(err error) *Error {
	if err == nil {
		return nil
	}
	const most = 64 << 10
	text := err.Error()
	e := &Error{Text: strings.ToValidUTF8(text[:min(len(text), most)], "�")}
	switch {
	case err == io.EOF: //nolint:errorlint // one that wraps it is a broken connection, see bridge.Source
		e.Kind = Error_EOF
	case bridge.IsPermanent(err):
		e.Kind = Error_PERMANENT
	case errors.Is(err, context.Canceled):
		e.Kind = Error_CANCELED
	}
	return e
}

// Err returns what e says as an error: io.EOF itself, one that is [bridge.Permanent], one that is
// context.Canceled, or another. It is nil if e is nil.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	switch e.Kind {
	case Error_EOF:
		return io.EOF
	case Error_PERMANENT:
		return bridge.Permanent(errors.New(e.Text))
	case Error_CANCELED:
		return canceled(e.Text)
	case Error_OTHER:
		return errors.New(e.Text)
	}
	return fmt.Errorf("%s (error kind %d, which this side does not know)", e.Text, e.Kind)
}

// canceled is an error that is context.Canceled.
type canceled string

func (c canceled) Error() string { return string(c) }

func (canceled) Is(target error) bool { return target == context.Canceled }
