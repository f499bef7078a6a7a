package engine

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// wary is how long each message goes alone after a step has failed: what was given back has come
// again by then, be it late.
const wary = 30 * time.Second

// suspects are the messages at which steps have failed, over the runs of a pipeline. After a
// failure what was given back comes again, each message alone for a while, also in the calls of
// steps, so that the next failure is that of one.
type suspects struct {
	until  atomic.Int64 // in ns since 1970; 0: nothing is suspected
	failed sync.Map     // of *failure, by suspect
}

// beginAnew has messages go alone from now on, since a step has failed.
func (s *suspects) beginAnew(now time.Time) { s.until.Store(now.Add(wary).UnixNano()) }

// wary reports whether messages are to go alone.
func (s *suspects) wary(clock bridge.Clock) bool {
	until := s.until.Load()
	if until == 0 || clock.Now().UnixNano() < until {
		return until != 0
	}
	s.until.Store(0)
	s.failed.Clear() // who has not come again will not
	return false
}

// suspect is a message as a step gets it, each time that it comes.
type suspect struct{ step, id, topic, header, payload string }

func (s *stage) suspect(m *bridge.Message) suspect {
	who := suspect{s.env.Instance, m.ID, m.Topic, fmt.Sprint(m.Header), string(m.Payload)}
	if strings.HasPrefix(who.id, s.identity.prefix) {
		who.id = "" // it is of this run
	}
	return who
}
