// Package mqtt connects to MQTT 3.1.1 brokers: a source that subscribes, and a sink that publishes.
//
// # Settings
//
// Both take url (mqtt, mqtts, ws, wss; tcp and ssl are other names of the first two), client_id,
// username, password, tls, keepalive, connect_timeout, write_timeout and max_packet. The source
// takes topics, qos, session and buffer; the sink takes topic, qos, retain, max_inflight and
// ack_timeout. See [ClientSettings], [SourceSettings] and [SinkSettings].
//
// The source's client_id names its session at the broker, so it must stay the same for the session
// to be found again. The default is xrtcbridge-PIPELINE-from, the same in every process that runs
// this pipeline: give each its own client_id, or let them share the work with topics like
// $share/group/sensors/#.
//
// A shared subscription, and any other filter, is passed to the broker as it is. Message.Topic is
// the topic that was published to. A message that the broker had retained comes with the header
// mqtt_retained = "true", and with many brokers comes again each time the source connects.
//
// # Delivery
//
// Source, QoS 1 and 2 in a persistent session (the default with these): at least once. A message is
// acknowledged to the broker when its pipeline is done with it, and not before; what was not
// acknowledged comes again in the next connection, also after a crash. MQTT has no way to refuse a
// message, so one that was refused brings about a new connection. QoS 2 adds that a message does
// not come twice in one connection; over a crash it may.
//
// Source, QoS 1 and 2 in a clean session: what arrives is acknowledged as above, but what the
// broker had not delivered when the connection ended is lost.
//
// Source, QoS 0: at most once. While the pipeline is slow the broker is held up; when the buffer
// has been full for 5 s, messages are dropped and counted. Messages of QoS 1 and 2 are never
// dropped.
//
// Sink, QoS 1 and 2: a message counts as delivered when the broker has confirmed it (PUBACK,
// PUBCOMP). If the connection is lost before, it is published again: at least once. Sink, QoS 0: a
// message counts as delivered when it is written to the socket, so a broken connection can cost
// messages.
//
// # Errors
//
// A refused subscription is an error that names the topic, and so is one granted with a lower QoS
// than asked for; neither leaves a source that looks well and receives nothing. A broker that goes
// silent is noticed by the ping after keepalive, or by a write that takes longer than
// write_timeout, or, for a sink, when nothing is confirmed for ack_timeout. Malformed packets end
// the connection. A message larger than max_packet is refused by source and sink; what a source
// hands to on_error holds as much of the payload. MQTT 3.1.1 does not say why a broker hangs up;
// another client with the same client_id is a frequent reason.
//
// Permanent are: a CONNECT refused for its protocol version, client_id, username or password, a
// subscription that is refused, and files of tls that cannot be used. The sink refuses a message
// whose topic or size cannot be published.
package mqtt

import (
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	client := ClientSettings{
		Keepalive:      10 * time.Second,
		ConnectTimeout: 10 * time.Second,
		WriteTimeout:   5 * time.Second,
		MaxPacket:      16 << 20,
	}
	return bridge.Connector{
		Name:     "mqtt",
		Summary:  "subscribes and publishes at an MQTT broker",
		Delivery: "at least once with QoS 1 and 2, at most once with QoS 0",
		Example:  example,
		Source: bridge.NewOpener(SourceSettings{
			ClientSettings: client, QoS: 1, Buffer: 16 << 20,
		}, openSource),
		Sink: bridge.NewOpener(SinkSettings{
			ClientSettings: client, QoS: 1, MaxInflight: 1000, AckTimeout: 20 * time.Second,
		}, openSink),
	}
}
