package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// ErrNobody is returned where no bridge answers.
var ErrNobody = errors.New("no bridge answers")

// Client asks a bridge at its socket.
type Client struct {
	// HTTP asks it, whatever the host of a URL is. It has no timeouts: the context of a request has.
	HTTP *http.Client
	// Place is where the bridge answers.
	Place Place
}

// Dial finds the bridge at the first of the places where one answers. Without any, the error is
// [ErrNobody].
func Dial(ctx context.Context, places ...Place) (*Client, error) {
	var errs []error
	var tried []string
	for _, p := range places {
		err := p.answers(ctx)
		if err == nil {
			return newClient(p), nil
		}
		if tried = append(tried, p.String()); !errors.Is(err, ErrNobody) {
			errs = append(errs, fmt.Errorf("connect to %s: %w", p, late(ctx, err)))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return nil, fmt.Errorf("%w at %s", ErrNobody, strings.Join(tried, " or "))
}

func newClient(p Place) *Client {
	return &Client{&http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.dial(ctx)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, p}
}

// Close closes connections that nobody uses.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// Error is an answer that says what went wrong.
type Error struct {
	Code int // of HTTP
	Text string
	Body []byte // all that was said
}

func (e *Error) Error() string { return e.Text }

// Do asks with a body of JSON, unless that is nil, and returns the answer, whose body is to be
// closed. An answer that is not 2xx is an [Error].
func (c *Client) Do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, text)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the bridge at %s: %w", c.Place, late(ctx, err))
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(answer.Body, mostBody))
	if err != nil {
		return nil, fmt.Errorf("ask the bridge at %s: %w", c.Place, late(ctx, err))
	}
	var f failed
	if json.Unmarshal(said, &f) != nil || f.Error == "" {
		f.Error = fmt.Sprintf("the bridge answers %s to %s %s: %s", answer.Status, method, path, bytes.TrimSpace(said))
	}
	return nil, &Error{answer.StatusCode, f.Error, said}
}

// MostAnswer is how much is read of one answer, or of one line of what goes on: the bridge may be
// another user's.
const MostAnswer = 64 << 20

// Ask is Do, and reads the answer into what into points to, unless that is nil.
func (c *Client) Ask(ctx context.Context, method, path string, body, into any) error {
	answer, err := c.Do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	said := io.LimitReader(answer.Body, MostAnswer)
	if into == nil {
		_, err = io.Copy(io.Discard, said)
	} else {
		err = json.NewDecoder(said).Decode(into)
	}
	if err != nil {
		return fmt.Errorf("read what the bridge at %s answers: %w", c.Place, late(ctx, err))
	}
	return nil
}

// late returns the cause of an error that says only that the time of ctx is over.
func late(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
		return cause
	}
	return err
}

// Status asks what the bridge does.
func (c *Client) Status(ctx context.Context) (s monitor.Status, err error) {
	err = c.Ask(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}
