package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// links are the connections that a source and a sink share, by their names.
type links struct {
	mu    sync.Mutex // guards named
	named map[string]*link

	seed     maphash.Seed
	suspects sync.Map // suspect by Env.Instance of the sink
	spoken   sync.Map // see identity
	refusals sync.Map // has Env.Instance of a sink at which a broker has hung up behind one, see openSink
}

// link is what has such a name. A broker keeps from a bridge what came by the bridge's own
// connection, so that both directions need the same one. The first end opens it, the last to leave
// closes it, and when it is lost both are opened again.
type link struct {
	turn   chan struct{} // held while joining
	set    *ClientSettings
	conn   *conn // nil: there was none yet
	ends   *ends
	bridge bool // the broker has taken the connection for that of a bridge
}

// join returns the connection of that name with one of the two as an end of it.
func (l *links) join(ctx context.Context, set *ClientSettings, from *source, to *sink) (*conn, error) {
	l.mu.Lock()
	k := l.named[set.link()]
	if k == nil {
		k = &link{turn: make(chan struct{}, 1)}
		l.named[set.link()] = k
	}
	l.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-k.turn }()
	mine := *set
	mine.ClientID = ""
	if k.set != nil && !reflect.DeepEqual(*k.set, mine) {
		return nil, bridge.Permanent(fmt.Errorf("the source and the sink of %s differ in what they have in common: "+
			"give both the same url, username, password, tls, times, max_packet, birth and will", set.link()))
	}
	k.set = &mine
	if k.conn != nil && k.conn.share() {
		if k.ends.attach(from, to) {
			return k.conn, nil
		}
		k.conn.part(nil, errors.New("the other end begins anew"))
		<-k.conn.dead
		k.conn.close(nil)
	}
	e := new(ends)
	e.attach(from, to)
	c, err := connect(ctx, set, identity{
		clientID: set.Bridge, bridge: true, spoken: &l.spoken, expiry: set.SessionExpiry, receive: defaultInflight,
		needs: set.five(),
	}, e)
	if err != nil {
		return nil, err
	}
	if k.bridge && !c.who.bridge { // what it sends would run in circles
		c.close(nil)
		return nil, errors.New("the broker has known bridges, and hangs up on one now")
	}
	k.conn, k.ends, k.bridge = c, e, c.who.bridge
	return c, nil
}

// ends is the peer of a connection that is shared.
type ends struct {
	source atomic.Pointer[source]
	sink   atomic.Pointer[sink]

	// The rest belongs to the goroutine that reads.
	early []frame // for the source, which is not there yet
	size  int     // of these, in bytes
	lost0 int     // messages of QoS 0 that there was no room for
}

// mostEarly is how many bytes of messages with QoS 0 wait for a source, which may never come. Of
// the others the broker sends a few only until they are acknowledged.
const mostEarly = 1 << 20

var _ peer = (*ends)(nil)

// attach fails for a second source: what the first one has not acknowledged comes again in a new
// connection only.
func (e *ends) attach(from *source, to *sink) bool {
	if from != nil {
		return e.source.CompareAndSwap(nil, from)
	}
	e.sink.Store(to)
	return true
}

func (e *ends) frame(f frame) error {
	switch f.kind() {
	case puback, pubrec, pubcomp:
		if s := e.sink.Load(); s != nil {
			return s.frame(f)
		}
		return nil
	}
	if s := e.source.Load(); s != nil && len(e.early) == 0 {
		return s.frame(f)
	}
	if f.kind() == publish && f.qos() == 0 && e.size+f.size > mostEarly {
		e.lost0++
		return nil
	}
	f.body = bytes.Clone(f.body)
	e.early, e.size = append(e.early, f), e.size+f.size
	return nil // flush follows
}

func (e *ends) flush(c *conn) {
	if s := e.sink.Load(); s != nil {
		s.flush(c)
	}
	if s := e.source.Load(); s != nil {
		for _, f := range e.early {
			if err := s.frame(f); err != nil {
				_ = c.fail(err)
			}
		}
		s.lose(e.lost0)
		e.early, e.size, e.lost0 = nil, 0, 0
		s.flush(c)
	}
}

func (e *ends) waits() bool {
	s := e.sink.Load()
	return s != nil && s.waits()
}

func (e *ends) lost(err error) {
	if s := e.source.Load(); s != nil {
		s.lost(err)
	}
}
