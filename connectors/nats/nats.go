// Package nats provides the connector for NATS: core subjects, and JetStream streams.
//
// # Settings
//
// Both directions have url (nats, tls, ws or wss; one or several servers of a cluster), name, one
// of username and password, token, creds or nkey, tls, and connect_timeout. streams names streams
// to create when they are missing; a stream that is there is never changed, and it is an error if
// it does not take the subjects.
//
// The source has subject or subjects, with wildcards, and queue for a queue group; buffer is how
// many bytes wait for the pipeline at most. With stream it reads JetStream through the consumer
// durable, which is created when missing: filter chooses subjects, deliver where a new consumer
// starts (all, new or last), ack_wait and max_ack_pending are those of a new consumer. Topic is the
// subject.
//
// The sink has subject, which may hold {{ }}. With jetstream: true, or stream, it publishes to
// JetStream; stream is then the one that must take the messages. ack_timeout is how long the stream
// may take. Without JetStream, flush: false returns once the messages are on their way.
//
// Headers become headers. In a message with several values of one name the first counts. The sink
// leaves out what begins with Nats-, since such headers are orders to the server, and a header
// without a name; characters that NATS has no room for are written %XX.
//
// # Delivery
//
// Core NATS is at most once. The source loses what is published while it is not connected, and what
// comes faster than the pipeline takes it once the buffer is full; that is counted as dropped. The
// sink has delivered when the server has the message, which says nothing about subscribers; what it
// is not sure of it publishes again. There is no Message.ID: publishers choose Nats-Msg-Id, two of
// them perhaps the same.
//
// JetStream is at least once. The source acknowledges each message after it was delivered, keeps
// those that are being delivered from coming again meanwhile, and refuses those that were not,
// which then come again after a second, behind later ones. MaxDeliver is not limited. At a stop
// everything unfinished goes back at once; what had come again already may then come out of order.
// Message.ID is made of the name of the stream, the sequence number, and the time when the stream
// got the message; the id that the publisher gave stays in the header Nats-Msg-Id. The sink has
// delivered when the stream has stored the message. It publishes with Nats-Msg-Id =
// Message.ID/INSTANCE, where INSTANCE is the sink's place, such as relay-to, or relay-to-2 for the
// second sink of a list. So the stream keeps what each of several sinks writes, and within its
// duplicate window (2 minutes unless the stream says otherwise) stores nothing twice that one sink
// writes again. That holds over a restart if the source's ids do, as those of JetStream.
//
// Bridges with the same durable on one stream share its messages.
//
// # Errors
//
// A connection is never mended, but given up and made anew by the engine, so that no message hides
// in a buffer: after a disconnect, a missed heartbeat or a refusal by the server, Read and Write
// fail. A silent server is noticed after 10 to 30 seconds.
//
// The sink refuses a message larger than the server or the stream allows, and one whose subject
// cannot be published to, belongs to another stream than the setting names, or comes from the
// message and begins with $ or is longer than 4000 bytes. A full stream that refuses new messages
// makes the pipeline wait.
//
// Permanent are credentials that the server does not accept, a missing permission, files that
// cannot be used, and a stream or consumer that is there and contradicts the settings.
package nats

import (
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	client := Client{ConnectTimeout: 10 * time.Second}
	return bridge.Connector{
		Name:     "nats",
		Summary:  "NATS subjects and JetStream streams",
		Delivery: "JetStream at least once, de-duplicated by message id; core NATS at most once",
		Example:  example,
		Source: bridge.NewOpener(SourceSettings{
			Client:  client,
			Buffer:  16 << 20,
			Deliver: "all",
			AckWait: 30 * time.Second,
		}, openSource),
		Sink: bridge.NewOpener(SinkSettings{
			Client:     client,
			Flush:      true,
			AckTimeout: 10 * time.Second,
		}, openSink),
	}
}
