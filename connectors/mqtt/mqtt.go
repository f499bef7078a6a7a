// Package mqtt connects to brokers of MQTT 5 and 3.1.1: a source that subscribes, and a sink that
// publishes.
//
// # Settings
//
// Both take url (mqtt, mqtts, ws, wss; tcp and ssl are other names of the first two; of a list the
// first broker that answers), protocol, client_id, username, password, tls, keepalive,
// connect_timeout, write_timeout, max_packet, session_expiry, birth, will and bridge. The source
// takes topics, qos, retained, retain_as_published, session, max_inflight and buffer; the sink
// takes topic, qos, retain, max_inflight and ack_timeout. See [ClientSettings], [SourceSettings]
// and [SinkSettings].
//
// protocol: auto asks for MQTT 5, and connects with 3.1.1 where the broker refuses that (reason
// 0x84, return code 1, or a hang-up), which costs one connection once, and twice if it hangs up:
// what an address speaks is remembered as long as the process lives. A setting that needs MQTT 5 is
// an error at a broker that does not speak it. Enhanced authentication (AUTH) is left out.
//
// In MQTT 5, properties are headers. User properties are headers of their names; content type,
// payload format (utf-8), response topic, correlation data (in base64) and expiry (in seconds) are
// mqtt_content_type, mqtt_payload_format, mqtt_response_topic, mqtt_correlation_data and
// mqtt_expiry. A map has one value for a name, which is the first, and no order: where that loses
// something, mqtt_properties has all user properties as they came, in JSON: [["a","1"],["a","2"]].
// It also has those whose names begin with mqtt_, which are no headers. The sink makes properties
// of headers in the same way, but of those that NATS adds (Nats-…): first those of mqtt_properties
// that are still there, with the value that the header has now for the first of its name, then the
// others by their names. What is no text of MQTT in them, or makes brokers hang up, is written as
// %XX. A message loses of its expiry what has passed since its time, and is dropped and counted
// when nothing is left. Subscription identifiers are not asked for.
//
// The source's client_id names its session at the broker, so it must stay the same for the session
// to be found again. The default is xrtcbridge-PIPELINE-from, the same in every process that runs
// this pipeline: give each its own client_id, or let them share the work with topics like
// $share/group/sensors/#.
//
// The checkpoint has the filters of a persistent session. Those that topics has no longer are named
// in the log and then ended at the broker, with what it has kept for them. One that has topics in
// common with a filter of now is ended in the first pause of a second, since some brokers drop what
// they have kept for it: until then messages may come twice. After a minute a quarter of a second
// suffices, if the broker answers in half of that. A message that no filter names is acknowledged,
// dropped, counted and logged. xrtcbridge state reset ends the session.
//
// A filter is passed to the broker as it is, unless another one covers it: brokers may send a copy
// for each. Message.Topic is the topic that was published to. A message that the broker had
// retained comes with the header mqtt_retained = "true", and with many brokers comes again each
// time the source connects. The retain of a sink may be a template that gives true or false.
//
// A source and a sink, in one process and at one broker, that have the same name as bridge share a
// connection, with that name as its client id and a persistent session. What both have in common
// must be the same. It tells the broker (by No Local and Retain As Published of MQTT 5; in 3.1.1 by
// protocol level 0x84, which mosquitto and others know) that it is a bridge: what the sink has
// published, with QoS 0 or 1, does not come back to the source, and live messages keep their retain
// flag. What it has published to be retained comes back with a new subscription, of which there is
// one when the broker has lost the session, and in 3.1.1 each time that it connects: the older
// state of the other side then. A broker of 3.1.1 that does not know this is connected to as usual,
// with a warning. Since the two share what holds up a broker, a slow pipeline does not: messages of
// QoS 0 are dropped and counted when the buffer is full, and the others are as many as the broker
// sends unacknowledged.
//
// The birth is published when a connection is there, the will by the broker when it breaks, and by
// the bridge before it ends a connection in order. The bridge does that with QoS 1 at most.
//
// # Delivery
//
// Source, QoS 1 and 2 in a persistent session (the default with these, unless all topics are
// shared): at least once. A message is acknowledged to the broker when its pipeline is done with
// it, and not before; what was not acknowledged comes again in the next connection, also after a
// crash. MQTT has no way to refuse a message, so one that was refused brings about a new
// connection. QoS 2 adds that a message does not come twice in one connection; over a crash it may.
// Mosquitto keeps only 1000 messages for a client that is away, and drops what is more, unless its
// max_queued_messages says otherwise. In MQTT 5 it keeps the session for session_expiry when nobody
// is connected, 1 h unless that says otherwise, and has max_inflight messages on their way; in
// 3.1.1 both are its own choice.
//
// Source on a command line (run --from): without client_id, bridge and session: persistent its
// session is clean, and of a name that nobody else has. It is for one run, and leaves none behind.
//
// Source, QoS 1 and 2 in a clean session: what arrives is acknowledged as above, and delivered
// though the connection has ended, or counted as dropped; what the broker had not delivered then is
// lost.
//
// Source, QoS 0: at most once. While the pipeline is slow the broker is held up; when the buffer
// has been full for 5 s, messages are dropped and counted. Messages of QoS 1 and 2 are never
// dropped.
//
// Sink, QoS 1 and 2: a message counts as delivered when the broker has confirmed it (PUBACK,
// PUBCOMP). What it does not take, in MQTT 5, is refused by the sink if the reason is the message
// (not authorised, topic, size, payload format), and else published again later (quota,
// unspecified). It also says how many may wait for it, which counts if it is less than
// max_inflight: mosquitto says 20 unless its max_inflight_messages does, which is few on a long
// line. Brokers of 3.1.1 confirm what they drop. If the connection is lost before, it is published
// again: at least once. Sink, QoS 0: a message counts as delivered when it is written to the
// socket, so a broken connection can cost messages.
//
// # Errors
//
// A refused subscription is an error that names the topic, and so is one granted with a lower QoS
// than asked for; neither leaves a source that looks well and receives nothing. A broker that goes
// silent is noticed by the ping after keepalive, or by a write of which nothing leaves for
// write_timeout, or, for a sink, when nothing is confirmed for ack_timeout. All limits count from
// when a byte last moved, and those of answers allow for a line that holds 1 MiB and is as slow as
// 20 kB/s. Malformed packets end the connection. A message larger than max_packet is refused by
// source and sink; what a source hands to on_error holds as much of the payload. MQTT 3.1.1 does
// not say why a broker hangs up; another client with the same client_id is a frequent reason, and a
// packet above the broker's limit; MQTT 5 does, and errors have reason and text. So a sink sends
// one that is larger than all before by itself, waits for the broker, and refuses a message at
// which that has hung up twice.
//
// Permanent are: a CONNECT refused for its protocol version, client_id, username or password, a
// subscription that is refused, and files of tls that cannot be used. The sink refuses a message
// whose topic or size cannot be published, or that chooses one of the broker's own topics ($SYS/…,
// or _INBOX, _R_/ and _GR_/, which are nats-server's) where the text of the template does not begin
// with it.
package mqtt

import (
	_ "embed"
	"hash/maphash"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	client := ClientSettings{
		Protocol:       "auto",
		Keepalive:      10 * time.Second,
		ConnectTimeout: 10 * time.Second,
		WriteTimeout:   5 * time.Second,
		MaxPacket:      16 << 20,
		SessionExpiry:  defaultExpiry,
	}
	shared := &links{named: make(map[string]*link), seed: maphash.MakeSeed()}
	return bridge.Connector{
		Name:     "mqtt",
		Summary:  "subscribes and publishes at an MQTT broker",
		Delivery: "at least once with QoS 1 and 2, at most once with QoS 0",
		Headers: []string{
			"mqtt_retained: true for a message that the broker had kept, else there is none",
			"those that user properties of MQTT 5 name",
			"mqtt_content_type, mqtt_payload_format (utf-8), mqtt_response_topic, mqtt_correlation_data (base64), " +
				"mqtt_expiry (seconds): properties of MQTT 5",
			"mqtt_properties: all user properties in JSON, where headers do not have their order, or several of one name",
		},
		Example: example,
		Source: bridge.NewOpener(SourceSettings{
			ClientSettings: client, QoS: 1, Retained: "all", MaxInflight: defaultInflight, Buffer: 16 << 20,
		}, shared.openSource),
		Sink: bridge.NewOpener(SinkSettings{
			ClientSettings: client, QoS: 1, MaxInflight: 1000, AckTimeout: 20 * time.Second,
		}, shared.openSink),
	}
}
