package xrtc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// loginTries is how often a login is tried that the server calls too frequent.
const loginTries = 4

// session is one login.
type session struct {
	time   int64 // of the server, in milliseconds
	began  time.Time
	limits Limits
	jar    *cookiejar.Jar
	set    atomic.Pointer[http.Header] // what goes to the set URL, cookies among it; shared by requests and never changed
	get    atomic.Pointer[http.Header] // and to the get URL, which may be elsewhere
	read   atomic.Bool                 // there was a get, so that it does not begin with all that is held
}

// keep takes the cookies of an answer: a load balancer may set others with each.
func (s *session) keep(to *resolved, from *url.URL, resp *http.Response) {
	cookies := resp.Cookies()
	if len(cookies) == 0 {
		return
	}
	s.jar.SetCookies(from, cookies)
	set, get := s.header(to.set), s.header(to.get)
	get[wire.PreferHeader] = []string{wire.PreferPlaces}
	s.set.Store(&set)
	s.get.Store(&get)
}

func (s *session) header(to *url.URL) http.Header {
	h := plainHeader()
	var pairs []string
	for _, c := range s.jar.Cookies(to) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if len(pairs) > 0 {
		h["Cookie"] = []string{strings.Join(pairs, "; ")}
	}
	return h
}

// plainHeader returns what goes with every request.
func plainHeader() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "User-Agent": {"xrtc-go/1"}}
}

// kept returns the header for a URL of to, nil if there is none.
func (s *session) kept(to *resolved, u *url.URL) http.Header {
	kept := &s.set
	if u == to.get {
		kept = &s.get
	}
	if h := kept.Load(); h != nil {
		return *h
	}
	return nil
}

// loggedIn returns a session other than old, logging in if there is none. One goroutine logs in, and the
// others wait for it and share what comes of it.
func (c *Client) loggedIn(ctx context.Context, old *session) (*session, error) {
	c.mu.Lock()
	logins := c.logins
	if s := c.session; s != nil && s != old {
		c.mu.Unlock()
		return s, nil
	}
	c.mu.Unlock()
	select {
	case c.renewing <- struct{}{}:
		defer func() { <-c.renewing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closed.Done():
		return nil, ErrClosed
	}
	c.mu.Lock()
	s, failed, others := c.session, c.failed, c.logins > logins
	c.mu.Unlock()
	switch {
	case s != nil && s != old:
		return s, nil
	case others && failed != nil:
		return nil, failed // of an attempt that began after we wanted one
	}
	s, err := c.login(ctx, old)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.session = s
	}
	if err == nil || ctx.Err() == nil { // what our own context ended says nothing to others
		c.logins++
		c.failed = err
	}
	return s, err
}

// login makes a new session, waiting where the server wants that.
func (c *Client) login(ctx context.Context, old *session) (*session, error) {
	if old != nil {
		c.log.DebugContext(ctx, "the session has ended, logging in again")
		wait := min(maxPause, time.Until(old.began.Add(old.limits.LoginTimeout)))
		if err := c.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		s, err := c.loginOnce(ctx)
		var e *Error
		if !errors.As(err, &e) || e.Code != ErrTooFrequentLogin && !e.rate() || try == loginTries {
			return s, err
		}
		wait := LoginTimeout
		if e.RetryAfter > 0 {
			wait = min(e.RetryAfter, maxPause)
		}
		c.log.InfoContext(ctx, "the server wants a pause before a login", "wait", wait.String())
		if overdue(ctx, wait) {
			return nil, err
		}
		if err := c.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (c *Client) loginOnce(ctx context.Context) (*session, error) {
	body := encode(map[string]string{"accountid": *c.to.account, "apikey": *c.to.key})
	s := &session{began: time.Now()}
	var err error
	if s.jar, err = cookiejar.New(nil); err != nil {
		return nil, err
	}
	resp, err := c.post(ctx, c.to.login, body, plainHeader())
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := c.readAnswer(ctx, resp, c.to.login)
	if err != nil {
		return nil, err
	}
	defer answers.Put(answer)
	s.keep(c.to, c.to.login, resp)
	for _, u := range []*url.URL{c.to.set, c.to.get} {
		if s.kept(c.to, u)["Cookie"] == nil {
			return nil, fmt.Errorf("%s set no cookie that goes to %s: they must have the same host", show(c.to.login), show(u))
		}
	}
	s.time = answer.ServerTimestamp
	s.limits = limits(resp.Header.Get(wire.LimitsHeader))
	return s, nil
}
