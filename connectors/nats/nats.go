// Package nats provides the connector for NATS: core subjects, and JetStream streams.
//
// # Settings
//
// Both directions have url (nats, tls, ws or wss; one or several servers of a cluster), name, one
// of username and password, token, creds or nkey, tls, connect_timeout, and domain or api_prefix
// for a JetStream that has another name. streams names streams to create when they are missing. One
// that is there is changed in what is named here, if no message is lost by that; that it cannot be,
// or does not take the subjects, is an error.
//
// The source has subject or subjects, with wildcards, and queue for a queue group; buffer is how
// many bytes wait for the pipeline at most. What several subjects match comes once. With stream it
// reads JetStream through the consumer durable, which is created when missing: filter chooses
// subjects, deliver where a new consumer starts (all, new or last). A consumer that was created
// here is kept as filter, ack_wait and max_ack_pending say; one that somebody else has made is
// changed in what is named here. Topic is the subject. The subject on which a publisher of core
// NATS waits for an answer is in the header reply.
//
// The sink has subject, which may hold {{ }}, and replies, which lets a message choose a subject on
// which somebody waits, as with {{ header.reply }}. With jetstream: true, or stream, it publishes
// to JetStream; stream is then the one that must take the messages. ack_timeout is how long the
// stream may take. Without JetStream, flush: false returns once the messages are on their way.
//
// Headers become headers. In a message with several values of one name the first counts. The sink
// leaves out what begins with Nats-, since such headers are orders to the server, and a header
// without a name; characters that NATS has no room for are written %XX. headers adds some, which
// may be such orders: a file may do what a message may not.
//
// objects names an object store in the same way, and object_stores some to create. A message has the
// whole object, one at a time, and one of more than max_size is refused; its topic is the name, its
// headers are those of the object. The sink sends an object in chunks of 128 KiB.
//
// given_up makes a source of what consumers do not get any more: what is read are the advisories of
// JetStream that a message was delivered as often as MaxDeliver allows, or was ended, from their
// subjects or, so that none is missed, a stream of them. The messages are read out of their own
// streams and refused with that as the reason, so that on_error keeps them as dead letters, which a
// replay delivers to the sinks. One that its stream has no more is counted as dropped. The subject of
// an advisory ends with the stream and the consumer that it is about; what says otherwise is none.
//
// kv names a key-value bucket of JetStream, in place of stream or subject; buckets names some to
// create. The source has keys as topics, and filter chooses among them. It reads what the bucket
// keeps, or with deliver: last the newest value of each key, and then each change; a value that was
// replaced before it was read is read only if the history of the bucket has it. A message that
// deletes its key has the header KV-Operation: DEL, or PURGE if the history goes too, be it that
// somebody did so or that max_age is over; Nats-Sequence is the revision. The sink puts a payload
// at key, and deletes the key of a message with such a header, or with empty: delete of one without
// a payload. A message whose key has not the revision that it must have is refused.
//
// The step publishes a request for each message, and goes on with the answer in its place: the
// payload is that of the answer, the headers are those of both, and topic, time and id stay. 256
// requests wait at a time, and the messages keep their order. What has no answer in time, or one
// that says that the service has failed (Nats-Service-Error-Code), is refused; where nobody is
// there who answers, the pipeline begins anew after a while. A request may be made again, as after
// a crash.
//
// # Delivery
//
// Core NATS is at most once. The source loses what is published while it is not connected, and what
// comes faster than the pipeline takes it once the buffer is full; that is counted as dropped. The
// sink has delivered when the server has the message, which says nothing about subscribers; what it
// is not sure of it publishes again. There is no Message.ID: publishers choose Nats-Msg-Id, two of
// them perhaps the same.
//
// JetStream is at least once, and in order. The source acknowledges each message after it was
// delivered, and keeps those that are being delivered from coming again meanwhile. MaxDeliver is
// not limited. At a stop everything unfinished goes back at once, and when the source is opened
// again, after whatever end, the consumer begins anew behind what is acknowledged. That takes
// nats-server 2.14, and a user who may publish to $JS.API.CONSUMER.RESET.>; without, what was read
// and not acknowledged comes again after ack_wait and behind newer messages, which the log says.
// Message.ID is made of the name of the stream, the sequence number, and the time when the stream
// got the message; the id that the publisher gave stays in the header Nats-Msg-Id. The sink has
// delivered when the stream has stored the message. It publishes with Nats-Msg-Id =
// Message.ID/INSTANCE, where INSTANCE is the sink's place, such as relay-to, or relay-to-2 for the
// second sink of a list. So the stream keeps what each of several sinks writes, and within its
// duplicate window (2 minutes unless the stream says otherwise) stores nothing twice that one sink
// writes again. That holds over a restart if the source's ids do, as those of JetStream. A stream
// that allows fast ingest (allow_batched), and is named or has the one subject of the sink, gets
// it; what such a batch does not take is published one by one.
//
// Bridges with the same durable on one stream share its messages, in no order. One whose checkpoint
// does not know yet that others read may get what they have and have not acknowledged; once it
// knows, what it had at a crash comes again after ack_wait. The checkpoint has how far the durable
// has come, so that one that somebody deletes is made anew behind what was acknowledged, wherever
// new ones start; a stream that was made anew is read from its start, and the log says what was not
// read of the old one. A reset of the state deletes the durable. Without a name a source on a
// command line (run --from) has a consumer for itself, which it deletes at the end, and the server
// forgets five minutes after a crash.
//
// # Errors
//
// A connection is never mended, but given up and made anew by the engine, so that no message hides
// in a buffer: after a disconnect, a missed heartbeat or a refusal by the server, Read and Write
// fail. A silent server is noticed after 10 to 30 seconds, in which nothing has come and nothing
// has left: on a slow line a message may take as long as it needs. Limits for answers count from
// when a byte last left, and allow for a line that holds 1 MiB and is as slow as 20 kB/s.
//
// The sink refuses a message larger than the server or the stream allows, and one whose subject
// cannot be published to, belongs to another stream than the setting names, is longer than 4000
// bytes, or begins with $, _INBOX, _R_ or _GR_ by what the message says and not by the text of the
// template; with replies: true $ alone is left of these. A full stream that refuses new messages
// makes the pipeline wait.
//
// Permanent are credentials that the server does not accept, a missing permission, files that
// cannot be used, and a stream or consumer that is there and contradicts the settings.
package nats

import (
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

//go:embed example.yaml
var example string

// Connector returns the connector.
func Connector() bridge.Connector {
	client := Client{Settings: natsclient.Settings{ConnectTimeout: 10 * time.Second}}
	return bridge.Connector{
		Name:     "nats",
		Summary:  "NATS subjects and JetStream streams",
		Delivery: "JetStream at least once, de-duplicated by message id; core NATS at most once",
		Headers:  []string{"those of the message"},
		Example:  example,
		Source: bridge.NewOpener(SourceSettings{
			Client:  client,
			Buffer:  16 << 20,
			Deliver: "all",
			MaxSize: 16 << 20,
		}, openSource),
		Sink: bridge.NewOpener(SinkSettings{
			Client:     client,
			Flush:      true,
			AckTimeout: 10 * time.Second,
			Empty:      "put",
		}, openSink),
		Step: bridge.NewOpener(StepSettings{Settings: client.Settings, Timeout: 5 * time.Second}, openStep),
	}
}
