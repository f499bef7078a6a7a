package mqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// record is the checkpoint of a source: what the broker keeps for it. It is a help and no
// condition, so that a source does without one that cannot be had.
type record struct {
	ClientID string   `json:"client_id"`
	Filters  []string `json:"filters"` // that the session is subscribed to
}

// recall loads the record, and says what connecting gives up.
func (s *source) recall(ctx context.Context) {
	b, err := s.env.Checkpoint.Load(ctx)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &s.before)
	}
	id := s.set.clientID(s.env)
	log := s.env.Logger.With("client_id", id, "subscriptions", s.before.Filters)
	switch {
	case err != nil:
		log.WarnContext(ctx, "cannot tell what the session was subscribed to before", "err", err)
	case s.before.ClientID != "" && s.before.ClientID != id:
		log.WarnContext(ctx, "the client id has changed: the broker goes on keeping messages for the session of the "+
			"one before, "+
			"until somebody ends it", "before", s.before.ClientID)
	case s.before.ClientID != "" && s.clean:
		log.WarnContext(ctx, "the persistent session ends, and with it what the broker keeps for it: "+
			"session: persistent would go on with it")
	}
}

// stale returns the filters to which the session was subscribed, and should not be any more.
func (s *source) stale() []string {
	if s.clean || s.before.ClientID != s.set.clientID(s.env) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.before.Filters), func(f string) bool { return slices.Contains(s.filters, f) })
}

// foreign says, before anything is given up, that the session has subscriptions that topics does
// not name: the record has them, or a message has come by them.
func (s *source) foreign(topic string) {
	s.told.Do(func() {
		log := s.env.Logger.With("client_id", s.set.clientID(s.env))
		if stale := s.stale(); len(stale) > 0 {
			log.Warn("ending subscriptions that topics does not name any more, and dropping what the broker "+
				"has kept for nothing else: name them in topics to keep them", "subscriptions", stale)
			return
		}
		log.Warn("dropping messages that topics does not name: the session has other subscriptions from before; "+
			"name them in topics, or end the session by xrtcbridge state reset", "topic", topic)
	})
}

// resume sees to it that the session has the subscriptions of topics, and no others. It waits for
// the broker, unless the queue is full before.
func (s *source) resume(ctx context.Context) (err error) {
	log, id := s.env.Logger.With("client_id", s.conn.who.clientID), s.conn.who.clientID
	switch {
	case s.clean:
	case s.before.ClientID == "":
		if s.conn.resumed {
			log.InfoContext(ctx, "the broker had a session of this client id; "+
				"topics that it was subscribed to before stay so, since they are not known here")
		}
	case s.before.ClientID == id && !s.conn.resumed:
		log.WarnContext(ctx, "the broker has lost the session, and what it kept for us")
	default:
		if s.ending = s.stale(); len(s.ending) > 0 {
			s.foreign("")
		}
	}
	s.began = time.Now()
	if s.answer, err = s.conn.subscribe(s.filters, s.set.subscription()); err == nil {
		err = s.conn.await(s.answer, s.stalled)
	}
	s.trip = time.Since(s.began)
	if err == nil && s.narrow() {
		err = s.conn.await(s.answer, s.stalled)
	}
	return err
}

// settle goes on with a change of the subscriptions when the broker has answered, and records it at
// last.
func (s *source) settle(ctx context.Context) {
	select {
	case <-s.answer:
	default:
		return
	}
	if s.narrow() {
		return
	}
	s.answer = nil
	now := record{ClientID: s.conn.who.clientID, Filters: slices.Concat(s.filters, s.ending)}
	if s.clean {
		now = record{}
	}
	if now.ClientID == s.before.ClientID && slices.Equal(now.Filters, s.before.Filters) {
		return
	}
	b, err := json.Marshal(now)
	if err == nil {
		err = s.env.Checkpoint.Save(ctx, b)
	}
	if err != nil {
		s.env.Logger.WarnContext(ctx, "cannot remember what the session is subscribed to", "err", err)
	}
}

// narrow ends the subscriptions that have no topic in common with those of now, if these are
// granted. It reports whether there are any. A broker may drop what it has kept for a subscription
// when that ends, so that the others wait for a pause.
func (s *source) narrow() bool {
	select {
	case <-s.answer:
	default:
		return false
	}
	var gone []string
	for _, f := range s.ending {
		if !slices.ContainsFunc(s.filters, func(now string) bool { return overlap(inner(now), inner(f)) }) {
			gone = append(gone, f)
		}
	}
	return s.end(gone)
}

// end ends subscriptions. The connection notes an error by itself.
func (s *source) end(gone []string) bool {
	if len(gone) == 0 {
		return false
	}
	s.ending = slices.DeleteFunc(slices.Clone(s.ending), func(f string) bool { return slices.Contains(gone, f) })
	s.answer, _ = s.conn.unsubscribe(gone)
	return true
}

// pause returns a channel that tells when the broker seems to have sent all that it has kept for
// the subscriptions that are still to be ended, if nothing comes until then. Where messages never
// stop, some of them come twice meanwhile: a shorter pause suffices the longer that takes. It is
// never as short as the one in which a broker waits for acknowledgements before it sends more.
func (s *source) pause() <-chan time.Time {
	if len(s.ending) == 0 || s.answer != nil {
		return nil
	}
	shorter := time.Second >> min(2, time.Since(s.began)/(30*time.Second))
	return time.After(max(shorter, min(2*s.trip, time.Second)))
}

// Keeps names the session.
func (s *SourceSettings) Keeps(env bridge.Env) string {
	if s.clean() {
		return ""
	}
	return fmt.Sprintf("the session of client id %s at %s", s.clientID(env), s.host())
}

// Forget ends the session, and with it the subscriptions and what the broker keeps for them.
func (s *SourceSettings) Forget(ctx context.Context, env bridge.Env) (ended bool, err error) {
	if s.clean() {
		return false, nil
	}
	client := s.ClientSettings
	client.Birth, client.Will = nil, nil
	who := identity{clientID: s.clientID(env)}
	for _, who.clean = range []bool{false, true} { // which of them there is only the first one tells
		c, err := connect(ctx, &client, who, deaf{})
		if err != nil {
			return false, err
		}
		ended = ended || c.resumed
		c.close(nil)
	}
	return ended, nil
}
