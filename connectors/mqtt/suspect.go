package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/gorilla/websocket"
)

var (
	errHungUp     = errors.New("connection closed by the broker")
	errNotGreeted = fmt.Errorf("%w, which did not answer CONNECT", errHungUp)
	errLate       = errors.New("no answer")
)

// unexpectedError is the first byte of a packet that does not belong there.
type unexpectedError byte

func (e unexpectedError) Error() string { return fmt.Sprintf("unexpected packet of type %d", e>>4) }

// hungUp reports whether the other side has closed the connection.
func hungUp(err error) bool {
	for _, closed := range []error{errHungUp, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, closed) {
			return true
		}
	}
	_, closed := errors.AsType[*websocket.CloseError](err)
	return closed
}

// suspect adds to the error of a connection that was never greeted what the port may speak instead
// of what the scheme of the URL says.
func (d *dialer) suspect(err error) error {
	_, secure, web := scheme(d.url.Scheme)
	record, plain := errors.AsType[tls.RecordHeaderError](err)
	begin, _ := errors.AsType[unexpectedError](err)
	silent := hungUp(err) || errors.Is(err, errLate)
	doubt := ""
	switch {
	case errors.Is(err, context.Canceled):
	case d.socket == nil: // nobody listens there
		doubt = "check url, and whether the broker runs"
	case plain && string(record.RecordHeader[:]) == "HTTP/":
		doubt = "the broker does not speak TLS on this port: ws://?"
	case secure && !d.spoke && (plain || silent) && web:
		doubt = "the broker does not speak TLS on this port: mqtt:// or ws://?"
	case secure && !d.spoke && (plain || silent):
		doubt = "the broker does not speak TLS on this port: mqtt://?"
	case web && secure && silent:
		doubt = "does the broker speak WebSocket on this port, or is it mqtts://?"
	case web && (silent || strings.Contains(err.Error(), "malformed HTTP")):
		doubt = "does the broker speak WebSocket without TLS on this port, or is it mqtt://, mqtts:// or wss://?"
	case begin == 'H' && secure:
		doubt = "the broker speaks HTTP on this port: wss://?"
	case begin == 'H':
		doubt = "the broker speaks HTTP on this port: ws://?"
	case begin == 0x15: // an alert
		doubt = "the broker speaks TLS on this port: mqtts://?"
	case secure && silent:
		doubt = "does the broker speak WebSocket on this port: wss://?"
	case silent:
		doubt = "does the broker speak TLS or WebSocket on this port: mqtts://, ws:// or wss://?"
	}
	if doubt == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, doubt)
}
