package xrtc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// maxMessage bounds what is kept of the words of a server.
const maxMessage = 1000

// readAnswer reads the whole of an answer. An error is [Error] unless a success cannot be read.
func (c *Client) readAnswer(ctx context.Context, resp *http.Response, u *url.URL) (*wire.Answer, error) {
	text, err := readMost(resp)
	ok := resp.StatusCode == http.StatusOK
	switch {
	case ok && err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", show(u), c.reason(ctx, err))
	case ok && len(text) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", show(u), maxAnswer)
	}
	answer := answers.Get().(*wire.Answer)
	bad := answer.Decode(text)
	switch {
	case ok && bad != nil:
		return nil, fmt.Errorf("the answer of %s is not of the portal API: %w", show(u), bad)
	case ok && answer.Failure == nil:
		return answer, nil
	case bad != nil:
		answer.Failure = nil // the status is all there is to know
	}
	return nil, c.newError(resp, u, answer.Failure)
}

// readMost reads an answer, up to a byte more than is allowed. What does not come with the first lot has some time.
func readMost(resp *http.Response) ([]byte, error) {
	size := 512
	if resp.ContentLength >= 0 {
		size = int(min(resp.ContentLength, maxAnswer)) + 1 // one more, to see the end without growing
	}
	text := make([]byte, 0, size)
	var late *time.Timer
	for len(text) <= maxAnswer {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := resp.Body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case err == io.EOF:
			return text, nil
		case err != nil && late != nil && !late.Stop():
			return text, errLate
		case err != nil:
			return text, err
		case late == nil:
			late = time.AfterFunc(answerTimeout, func() { _ = resp.Body.Close() })
			defer late.Stop()
		}
	}
	return text, nil
}

// newError returns the error of an answer that may say why it failed.
func (c *Client) newError(resp *http.Response, u *url.URL, f *wire.Failure) *Error {
	e := &Error{URL: show(u), Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	if f != nil {
		e.Group, e.Code, e.Message = f.Group, Code(f.Code), c.clean(f.Message)
	}
	return e
}

// retryAfter reads the header of that name, which is a number of seconds or a date by the server's clock.
func retryAfter(h http.Header) time.Duration {
	const most = 365 * 24 * time.Hour
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(max(0, min(seconds, int64(most/time.Second)))) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, min(date.Sub(now), most))
}

// clean makes the words of a server fit to be shown: it may have sent back what we sent.
func (c *Client) clean(text string) string {
	text = strings.NewReplacer(*c.to.key, "[redacted]", *c.to.account, "[redacted]").Replace(text)
	if len(text) > maxMessage {
		text = text[:maxMessage] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// cleanError is clean for errors of the transport, which quote answers that are not HTTP.
func (c *Client) cleanError(err error) error {
	if text := err.Error(); strings.Contains(text, *c.to.key) || strings.Contains(text, *c.to.account) {
		return errors.New(c.clean(text))
	}
	return err
}
