package xrtc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

const (
	maxAnswer   = 1 << 20         // bytes of an answer that are read
	rateTries   = 5               // times that a request is refused for its rate before that is an error
	maxPause    = 5 * time.Minute // the longest that a server may make us wait
	rateDefault = time.Second     // the wait after a refusal that does not name one
	longPause   = 2 * time.Second // a longer one is told
)

// answers holds answers for use again. What of their items is kept has been copied.
var answers = sync.Pool{New: func() any { return new(wire.Answer) }}

// encode writes a request, but for those to set.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // v cannot be written
	}
	return text
}

// ask makes a request within a session and reads its answer, which goes back to answers.
func (c *Client) ask(ctx context.Context, u *url.URL, body []byte) (answer *wire.Answer, err error) {
	resp, err := c.call(ctx, u, func(*session) []byte { return body }, func(resp *http.Response) (err error) {
		answer, err = c.readAnswer(ctx, resp, u)
		return err
	})
	if err == nil {
		err = resp.Body.Close()
	}
	return answer, err
}

// call makes a request within a session and returns its answer, if read has no error. It logs in
// again once if the session has expired, and waits if there were too many requests. body is asked
// for each session anew.
func (c *Client) call(ctx context.Context, u *url.URL, body func(*session) []byte,
	read func(*http.Response) error,
) (*http.Response, error) {
	s := c.now()
	for renewed, refused := false, 0; ; {
		if err := c.clear(ctx); err != nil {
			return nil, err
		}
		text := body(s)
		if err := c.checkSize(u, text); err != nil {
			return nil, err
		}
		if u == c.to.get {
			s.read.Store(true)
		}
		resp, err := c.post(ctx, u, text, s.kept(c.to, u))
		if err == nil {
			s.keep(c.to, u, resp)
			if err = read(resp); err == nil {
				return resp, nil
			}
			_ = resp.Body.Close()
		}
		var e *Error
		switch {
		case !errors.As(err, &e):
			return nil, err
		case e.session() && !renewed:
			renewed = true
			if s, err = c.loggedIn(ctx, s); err != nil {
				return nil, fmt.Errorf("log in again: %w", err)
			}
		case e.rate() && refused < rateTries:
			refused++
			if wait := c.pause(e); overdue(ctx, wait) {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// clear waits until a request may be sent.
func (c *Client) clear(ctx context.Context) error {
	if err := c.rest(ctx); err != nil || c.limiter == nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.closed, func() { cancel(ErrClosed) })()
	if err := c.limiter.Wait(ctx); err != nil {
		if c.closed.Err() != nil {
			return ErrClosed
		}
		return err
	}
	return nil
}

// rest waits as long as the server has asked for.
func (c *Client) rest(ctx context.Context) error {
	for {
		c.mu.Lock()
		until := c.notBefore
		c.mu.Unlock()
		if until.IsZero() || !time.Now().Before(until) {
			return nil
		}
		if err := c.sleep(ctx, time.Until(until)); err != nil {
			return err
		}
	}
}

// pause makes all requests wait as long as the server asks.
func (c *Client) pause(e *Error) time.Duration {
	wait := rateDefault
	if e.RetryAfter > 0 {
		wait = min(e.RetryAfter, maxPause)
	}
	until := time.Now().Add(wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.notBefore) {
		c.notBefore = until
		level := slog.LevelDebug
		if wait > longPause {
			level = slog.LevelInfo
		}
		c.log.Log(context.Background(), level, "the server wants a pause", "wait", wait.String())
	}
	return wait
}

// sleep waits, until ctx is done or the client closed at most, and then returns an error.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed.Done():
		return ErrClosed
	}
}

// overdue reports whether ctx will be done before d has passed: then it is better to say now why.
func overdue(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < d
}

// post sends one request and returns whatever answer comes. It does not change header.
func (c *Client) post(ctx context.Context, u *url.URL, body []byte, header http.Header) (*http.Response, error) {
	switch {
	case c.closed.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	reader := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(body)), GetBody: reader,
	}).WithContext(ctx)
	req.Body, _ = reader()
	// The transport itself follows no redirect, which would take the cookie elsewhere.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("post %s: %w", show(u), c.reason(ctx, err))
	}
	return resp, nil
}

// reason returns why something failed, if that is known better than err says.
func (c *Client) reason(ctx context.Context, err error) error {
	switch {
	case c.closed.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return c.cleanError(err)
}

// errLate says that an answer did not come in time.
var errLate = errors.New("no answer in time")
