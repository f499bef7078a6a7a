package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

// stalled returns for how long none of our bytes has been seen to leave with more behind it.
func (c *conn) stalled() time.Duration { return time.Since(c.began) - time.Duration(c.leaving.Load()) }

// watch pings the broker, and ends a connection on which an answer is due and nothing moves. All
// limits count from when something last moved: a slow line is not a dead one.
func (c *conn) watch(s *ClientSettings) {
	pause := max(min(s.Keepalive, s.WriteTimeout, s.ConnectTimeout)/8, 10*time.Millisecond)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var (
		came, wrote, left       int64         // bytes
		cameAt, wroteAt, leftAt time.Duration // when that was last more than before
		pinged                  time.Duration // when, 0 if there is no answer to wait for
		ahead                   int64         // bytes that were written before the ping
		crossed                 int64         // bytes that were before a ping that the broker has answered
	)
	for {
		select {
		case <-c.dead:
			return
		case <-tick.C:
		}
		now, held := time.Since(c.began), c.held.Load()
		if n := c.socket.Received(); n != came || held { // nobody reads while it is held
			came, cameAt = n, now
			if pinged > 0 {
				pinged, crossed = 0, ahead
			}
		}
		if n := c.socket.Written(); n != wrote {
			wrote, wroteAt = n, now
		}
		n := c.socket.Left()
		backlog := n < wrote
		if n != left {
			left, leftAt = n, now
			if backlog {
				c.leaving.Store(int64(now))
			}
		}
		leaving := time.Duration(c.leaving.Load())
		idle := now - wroteAt
		if !held {
			idle = max(idle, now-cameAt)
		}
		switch q := c.question.Load(); {
		case q != nil && now-max(cameAt, wroteAt, leftAt) > s.ConnectTimeout:
			_ = c.fail(fmt.Errorf("%s: %w within %v", q.what, errLate, s.ConnectTimeout))
		case pinged > 0 && backlog && now-max(pinged, leftAt) > s.WriteTimeout+socket.Crossing(wrote-crossed),
			pinged > 0 && !c.peer.waits() && now-max(pinged, leaving) > s.WriteTimeout+socket.Crossing(wrote-crossed):
			_ = c.fail(errors.New("the broker does not answer pings"))
		case pinged == 0 && idle+2*pause >= time.Duration(c.keepalive.Load()):
			pinged, ahead = now, wrote
			c.running.Go(func() { _ = c.ping(nil) })
		}
	}
}
