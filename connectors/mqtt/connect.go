package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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

// connectTo connects as a bridge if it can, where that is wanted.
func connectTo(ctx context.Context, s *ClientSettings, u bridge.URL, who identity, p peer) (*conn, error) {
	c, err := greet(ctx, s, u, who, p)
	if who.bridge && (errors.Is(err, packets.ErrorRefusedBadProtocolVersion) || errors.Is(err, errNotGreeted)) {
		who.bridge = false
		c, err = greet(ctx, s, u, who, p)
	}
	return c, err
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
	defer context.AfterFunc(ctx, func() { _ = c.fail(context.Cause(ctx)) })()
	c.running.Go(c.readAll)
	c.running.Go(func() { c.watch(s) })
	answer, err := c.ask(&question{what: "CONNECT", kind: connack, check: c.welcome}, connectPacket(s, u, who))
	if err == nil {
		err = c.await(answer, nil)
	}
	if err != nil {
		c.running.Wait()
		return nil, d.suspect(err)
	}
	return c, c.send(s.Birth.packet())
}

func connectPacket(s *ClientSettings, u bridge.URL, who identity) []byte {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.ClientIdentifier, p.CleanSession, p.Keepalive = who.clientID, who.clean, uint16(s.Keepalive/time.Second)
	if who.bridge {
		p.ProtocolVersion |= bridgeBit
	}
	user, password := s.credentials(u)
	p.Username, p.UsernameFlag = user, user != ""
	p.Password, p.PasswordFlag = []byte(password), password != ""
	if w := s.Will; w != nil {
		p.WillFlag, p.WillTopic, p.WillMessage = true, w.Topic, []byte(w.Payload)
		p.WillQos, p.WillRetain = byte(w.QoS), w.Retain
	}
	return encoded(p)
}

func encoded(p packets.ControlPacket) []byte {
	var b bytes.Buffer
	_ = p.Write(&b) // which does not fail
	return b.Bytes()
}

// welcome says why CONNECT did not succeed.
func (c *conn) welcome(body []byte) error {
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

// subscribe asks for all filters. The channel is closed when the broker has granted them as asked.
func (c *conn) subscribe(filters []string, qos byte) (granted <-chan struct{}, err error) {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, filters, bytes.Repeat([]byte{qos}, len(filters))
	return c.ask(&question{what: "subscribe", kind: suback, id: []byte{0, 1}, check: func(body []byte) error {
		return checkGrants(filters, qos, body[2:])
	}}, encoded(p))
}

// unsubscribe ends subscriptions. The channel is closed when the broker has done that.
func (c *conn) unsubscribe(filters []string) (done <-chan struct{}, err error) {
	p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	p.MessageID, p.Topics = 2, filters
	right := func([]byte) error { return nil }
	return c.ask(&question{what: "unsubscribe", kind: unsuback, id: []byte{0, 2}, check: right}, encoded(p))
}

// checkGrants says what was not granted. Such errors are permanent: brokers refuse what the client
// has no permission for.
func checkGrants(filters []string, qos byte, granted []byte) error {
	if len(granted) != len(filters) {
		return fmt.Errorf("%w: SUBACK with %d answers for %d filters", errMalformed, len(granted), len(filters))
	}
	var errs []error
	for i, f := range filters {
		switch got := granted[i]; {
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
