package mqtt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// noticeID is the packet id of birth and will, which the window of a sink does not use.
var noticeID = []byte{0xff, 0xff}

// bridgeBit is what mosquitto and others know bridges by.
const bridgeBit = 0x80

// question is a packet that has an answer. There is one at a time.
type question struct {
	what  string
	kind  byte   // of the answer
	id    []byte // that the answer begins with
	check func(body []byte) error
	done  chan struct{} // closed when the answer is right
}

func (q *question) answers(f frame) bool { return bytes.HasPrefix(f.body, q.id) }

// ask sends the packet. The answer to q, which its check must approve, closes the channel; one that
// is wrong ends the connection.
func (c *conn) ask(q *question, packet []byte) (answer <-chan struct{}, err error) {
	q.done = make(chan struct{})
	c.question.Store(q)
	return q.done, c.send(packet)
}

// await waits for an answer. It also returns when early is closed.
func (c *conn) await(answer, early <-chan struct{}) error {
	select {
	case <-answer:
		return nil
	case <-early:
		return nil
	case <-c.dead:
		return c.cause
	}
}

// connect opens a connection to the first broker that can be had. Packets of the PUBLISH family may
// reach p before it returns.
func connect(ctx context.Context, s *ClientSettings, who identity, p peer) (*conn, error) {
	var failed []error
	permanent := true
	for _, u := range s.URL {
		c, err := connectTo(ctx, s, u, who, p)
		if err == nil {
			c.running.Go(func() {
				<-c.dead
				p.lost(c.cause)
			})
			return c, nil
		}
		failed = append(failed, fmt.Errorf("connect to %s: %w", u, err))
		permanent = permanent && bridge.IsPermanent(err)
		if ctx.Err() != nil {
			break
		}
	}
	if permanent || len(failed) == 1 {
		return nil, errors.Join(failed...)
	}
	return nil, errors.New(errors.Join(failed...).Error()) // one of them may be permanent, not all
}

// What an address has been found to speak. A hang-up at MQTT 5 is believed the second time, since a
// broker that is just coming up hangs up as well.
const (
	unheard = iota
	hungUpAt5
	speaks4
	speaks5
)

// connectTo connects in the newest version that the broker speaks, and as a bridge if it can, where
// that is wanted.
func connectTo(ctx context.Context, s *ClientSettings, u bridge.URL, who identity, p peer) (c *conn, err error) {
	if who.spoken == nil {
		who.spoken = new(sync.Map)
	}
	spoken, _ := who.spoken.Load(u.Host)
	before, _ := spoken.(int)
	protocol := s.Protocol
	if who.needs != "" {
		protocol = protocol5
	}
	heard := before
	for _, who := range who.attempts(protocol, before == speaks4) {
		c, err = greet(ctx, s, u, who, p)
		refused := errors.Is(err, packets.ErrorRefusedBadProtocolVersion)
		switch {
		case err == nil && who.five:
			heard = speaks5
		case who.five && (refused || before == hungUpAt5):
			heard = speaks4
		case who.five:
			heard = hungUpAt5
		}
		if err == nil { // else it may be the network that does not let anything through
			who.spoken.Store(u.Host, heard)
			return c, nil
		}
		if !refused && (!errors.Is(err, errNotGreeted) || who.five && before == speaks5) {
			break
		}
		if refused && who.needs != "" {
			err = bridge.Permanent(fmt.Errorf("%w: %s needs MQTT 5: leave it out", err, who.needs))
		}
	}
	return nil, err
}

// attempts are how to connect to a broker, one after the other, until it does not refuse the
// version. One that spoke 3.1.1 before is not asked for 5 first again.
func (who identity) attempts(protocol string, older bool) (tries []identity) {
	five := who
	five.five = true
	if protocol != protocol4 && !older {
		tries = append(tries, five)
	}
	if protocol != protocol5 {
		if who.bridge {
			tries = append(tries, who)
		}
		who.bridge = false
		tries = append(tries, who)
	}
	if protocol != protocol4 && older {
		tries = append(tries, five)
	}
	return tries
}

// greet connects, up to where messages begin.
func greet(ctx context.Context, s *ClientSettings, u bridge.URL, who identity, p peer) (*conn, error) {
	dialing, cancel := context.WithTimeoutCause(ctx, s.ConnectTimeout,
		fmt.Errorf("%w within %v", errLate, s.ConnectTimeout))
	defer cancel()
	d := &dialer{set: s, url: u}
	stream, err := d.dial(dialing)
	if errors.Is(err, os.ErrDeadlineExceeded) { // that of the context, which may not know yet
		<-dialing.Done()
	}
	switch {
	case err != nil && dialing.Err() != nil:
		return nil, d.suspect(context.Cause(dialing))
	case hungUp(err):
		return nil, d.suspect(errHungUp) // an io.EOF would mean success to the engine
	case err != nil:
		return nil, d.suspect(err)
	}
	c := newConn(stream, d.socket, p, who, int(s.MaxPacket))
	c.at = u
	c.keepalive.Store(int64(s.Keepalive))
	defer context.AfterFunc(ctx, func() { _ = c.fail(context.Cause(ctx)) })()
	c.running.Go(c.readAll)
	c.running.Go(func() { c.watch(s) })
	answer, err := c.ask(&question{what: "CONNECT", kind: connack, check: c.welcome}, connectPacket(s, u, who))
	if err == nil {
		err = c.await(answer, nil)
	}
	if err == nil {
		if err = c.keeps(s); err != nil {
			c.hangUp(nil, err)
			_ = c.fail(err)
		}
	}
	if err != nil {
		c.running.Wait()
		return nil, d.suspect(err)
	}
	return c, c.send(c.notice(s.Birth))
}

func connectPacket(s *ClientSettings, u bridge.URL, who identity) []byte {
	level, flags := byte(4), byte(0)
	switch {
	case who.five:
		level = 5
	case who.bridge:
		level |= bridgeBit
	}
	if who.clean {
		flags |= 1 << 1
	}
	user, password := s.credentials(u)
	if user != "" {
		flags |= 1 << 7
	}
	if password != "" {
		flags |= 1 << 6
	}
	if w := s.Will; w != nil {
		flags |= 1<<2 | byte(w.QoS)<<3
		if w.Retain {
			flags |= 1 << 5
		}
	}
	b := append(appendField(nil, "MQTT"), level, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(s.Keepalive/time.Second))
	if who.five {
		b = appendBlock(b, who.properties(s.Will))
	}
	b = appendField(b, who.clientID)
	if w := s.Will; w != nil {
		if who.five {
			b = appendBlock(b, w.properties())
		}
		b = appendField(appendField(b, w.Topic), w.Payload)
	}
	if user != "" {
		b = appendField(b, user)
	}
	if password != "" {
		b = appendField(b, password)
	}
	return packet(connectType<<4, b)
}

// packet puts a header in front of the rest of a packet.
func packet(head byte, body []byte) []byte {
	return append(appendVarint([]byte{head}, len(body)), body...)
}

// welcome says why CONNECT did not succeed.
func (c *conn) welcome(body []byte) error {
	if c.who.five {
		return c.welcome5(body)
	}
	return c.welcome4(body)
}

func (c *conn) welcome4(body []byte) error {
	if len(body) != 2 || body[1] > 5 {
		return fmt.Errorf("%w: CONNACK", errMalformed)
	}
	c.resumed = body[0]&1 != 0
	refused := fmt.Errorf("refused by the broker: %w", packets.ConnErrors[body[1]])
	switch body[1] {
	case packets.Accepted:
		return nil
	case packets.ErrRefusedServerUnavailable:
		return refused
	case packets.ErrRefusedBadUsernameOrPassword, packets.ErrRefusedNotAuthorised:
		return bridge.Permanent(fmt.Errorf("%w: check username, password and client_id, "+
			"and what the broker grants them", refused))
	}
	return bridge.Permanent(refused) // protocol version, client identifier
}

// subscription is what to ask for. All but qos is of MQTT 5.
type subscription struct {
	qos         byte
	retained    byte // what becomes of messages that the broker has kept: 0 they come, 1 to a new subscription, 2 never
	asPublished bool // messages keep their retain flag
}

// subscribe asks for all filters. The channel is closed when the broker has granted them as asked.
func (c *conn) subscribe(filters []string, o subscription) (granted <-chan struct{}, err error) {
	q := &question{what: "subscribe", kind: suback, id: []byte{0, 1}, check: func(body []byte) error {
		return c.checkGrants(filters, o.qos, body)
	}}
	b := []byte{0, 1}
	options := o.qos
	if c.who.five {
		b = appendBlock(b, nil)
		if c.who.bridge { // what it has published does not come back, nor as retained; the flags stay
			options |= 1<<2 | 1<<3
			o.retained = max(o.retained, 1)
		}
		options |= o.retained << 4
		if o.asPublished {
			options |= 1 << 3
		}
	}
	for _, f := range filters {
		b = append(appendField(b, f), options)
	}
	return c.ask(q, packet(subscribeType<<4|2, b))
}

// unsubscribe ends subscriptions. The channel is closed when the broker has done that.
func (c *conn) unsubscribe(filters []string) (done <-chan struct{}, err error) {
	q := &question{what: "unsubscribe", kind: unsuback, id: []byte{0, 2}, check: c.checkEnded}
	b := []byte{0, 2}
	if c.who.five {
		b = appendBlock(b, nil)
	}
	for _, f := range filters {
		b = appendField(b, f)
	}
	return c.ask(q, packet(unsubscribeType<<4|2, b))
}

// checkEnded says which subscriptions have not been ended, if the broker says that and may do so
// another time. One that it does not end for good is like one that is not known here: what comes by
// it is dropped.
func (c *conn) checkEnded(body []byte) error {
	codes, why, err := c.granted(body)
	for _, why.code = range codes {
		if err == nil && why.code >= reasonFailed && why.passing() {
			return fmt.Errorf("unsubscribe: refused by the broker, %w", &why)
		}
	}
	return err
}

// checkGrants says what was not granted. Such errors are permanent: brokers refuse what the client
// has no permission for.
func (c *conn) checkGrants(filters []string, qos byte, body []byte) error {
	granted, why, err := c.granted(body)
	if err != nil {
		return err
	}
	if len(granted) != len(filters) {
		return fmt.Errorf("%w: SUBACK with %d answers for %d filters", errMalformed, len(granted), len(filters))
	}
	var errs []error
	for i, f := range filters {
		switch got := granted[i]; {
		case c.who.five && got >= reasonFailed:
			why := why
			why.code = got
			if why.passing() {
				return fmt.Errorf("subscribe %q: refused by the broker, %w", f, &why)
			}
			errs = append(errs, fmt.Errorf("subscribe %q: refused by the broker, %w", f, &why))
		case got == 0x80:
			errs = append(errs, fmt.Errorf("subscribe %q: refused by the broker: "+
				"check that it lets this client read the topic", f))
		case got > 2:
			return fmt.Errorf("%w: SUBACK with return code %#x", errMalformed, got)
		case got < qos:
			errs = append(errs, fmt.Errorf("subscribe %q: the broker grants QoS %d at most, "+
				"not %d: set qos to what it grants", f, got, qos))
		}
	}
	return bridge.Permanent(errors.Join(errs...))
}
