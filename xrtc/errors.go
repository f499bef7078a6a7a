package xrtc

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code is an error code of the API. It is an error itself, so that errors.Is finds it in an
// [Error].
type Code int //nolint:errname // it is a code, and Err begins the names of its values

// The error codes.
const (
	ErrParse              Code = 20    // not JSON, wrong or missing names, wrong types, too large
	ErrInvalidArguments   Code = 30    // wrong values, such as a portal id with a dash
	ErrInvalidCredentials Code = 35    // wrong account or key, or the key is disabled
	ErrTooFrequentLogin   Code = 45    // less than LOGIN_TIMEOUT since the last login with this key
	ErrTooManyRequests    Code = 46    // over the rate of this key (servers of this package)
	ErrQuotaExceeded      Code = 47    // over the month's quota of this account (servers of this package)
	ErrSession            Code = 10011 // no, unknown or expired session
)

func (c Code) Error() string {
	switch c {
	case ErrParse:
		return "the request was not understood"
	case ErrInvalidArguments:
		return "invalid arguments"
	case ErrInvalidCredentials:
		return "invalid credentials"
	case ErrTooFrequentLogin:
		return "login too frequent"
	case ErrTooManyRequests:
		return "too many requests"
	case ErrQuotaExceeded:
		return "request quota exceeded"
	case ErrSession:
		return "session denied"
	}
	return fmt.Sprintf("error %d", int(c))
}

// Errors that no server sends.
var (
	// ErrNoCredentials: neither Config nor environment nor file has an account id and a key.
	ErrNoCredentials = errors.New("no credentials")

	// ErrConfig: an address in Config, environment or file is none, or a file must not be read.
	ErrConfig = errors.New("wrong configuration")

	// ErrRequest: the server would refuse the request, so it was not sent.
	ErrRequest = errors.New("invalid request")

	// ErrTooLarge: the request is larger than a limit.
	ErrTooLarge = errors.New("request too large")

	// ErrClosed: the client is closed.
	ErrClosed = errors.New("client closed")
)

// Error is an answer of the server other than success. errors.Is matches it with a [Code].
type Error struct {
	URL        string
	Status     int           // of HTTP
	Group      int           // as the server gives it; servers differ, so go by Code
	Code       Code          // 0 if the answer was not of the API
	Message    string        // the server's words
	RetryAfter time.Duration // how long the server asks to wait; 0 if it does not say
}

// Error returns all but RetryAfter, in words.
func (e *Error) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("%s answered %d %s", e.URL, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s answered error %d: %s", e.URL, int(e.Code), e.Message)
}

// Is reports whether target is the code of e.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// session reports whether a new login may help.
func (e *Error) session() bool { return e.Status == http.StatusUnauthorized || e.Code == ErrSession }

// rate reports whether waiting helps: the request was refused, and not looked at.
func (e *Error) rate() bool {
	return e.Code == ErrTooManyRequests || e.Status == http.StatusTooManyRequests ||
		e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0
}

// IsTemporary reports whether the same request may succeed later: the network or the server is at
// fault, or there were too many requests. A refusal for what the request says, or for the
// credentials, is not temporary.
func IsTemporary(err error) bool {
	var e *Error
	switch {
	case err == nil, errors.Is(err, ErrClosed), errors.Is(err, ErrNoCredentials), errors.Is(err, ErrConfig),
		errors.Is(err, ErrTooLarge), errors.Is(err, ErrRequest):
		return false
	case errors.As(err, &e):
		return e.Status >= 500 || e.rate() || e.session() || e.Code == ErrTooFrequentLogin || e.Code == ErrQuotaExceeded
	}
	return true
}

// requestError is an ErrRequest in other words.
type requestError string

func (e requestError) Error() string        { return string(e) }
func (e requestError) Is(target error) bool { return target == ErrRequest }
