package bridge

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

// Source reads batches from somewhere. An instance is single-use: it is
// opened, read, closed and thrown away, and reconnecting is opening another.
type Source interface {
	// Read returns the messages that are there now, waiting only while there is none, and never to
	// fill a batch. The batch has at most Env.MaxBatch messages; ack is not nil if the batch is not
	// empty.
	//
	// Read is called from one goroutine, and again only when the pipeline has room: back-pressure
	// is a Read that is not called. It returns ctx.Err() soon after ctx is done, without losing a
	// message by that, and is not called again then.
	//
	// io.EOF says that the input is finished: the engine settles what is in flight and ends this
	// source with success. [Refusals] name messages of the batch that the source cannot hand on
	// whole; they say nothing of the instance, which is read again. After any other error, be it
	// one that wraps io.EOF (a connection that broke), the engine closes the instance, waits
	// (back-off with jitter), and opens a new one; [Permanent] says that this would be in vain, and
	// stops the pipeline. A batch that comes with an error is handled before the error.
	Read(ctx context.Context) (batch Batch, ack Ack, err error)

	// Close frees the instance, making a blocked Read return. It may be called
	// more than once, and does nothing the second time.
	Close() error
}

// Sink writes batches somewhere. An instance is single-use, as a Source is.
type Sink interface {
	// Write delivers the batch in order and returns when that is as certain as
	// the technology can make it; hence Close has nothing to flush. The result is about the
	// messages, the error about the instance: a message that can never be delivered here is
	// refused in the result, and does not keep the others from being delivered.
	//
	// If fewer messages are settled than the batch has, err says why. A sink may have sent
	// messages behind the settled ones too: they come again. After an error the engine closes
	// the instance and writes the rest of the batch to a new one; [Permanent] says that a new one
	// would not help either, and stops the pipeline.
	//
	// Write must not change the batch, nor keep it or its payloads after it returned. It is
	// called from several goroutines at once only if the pipeline sets
	// max_in_flight above 1. It returns soon after ctx is done.
	Write(ctx context.Context, batch Batch) (Result, error)

	// Close frees the instance, making a blocked Write return. It may be called
	// more than once, and does nothing the second time.
	Close() error
}

// Result is what became of the messages of one Write.
type Result struct {
	// Settled is how many messages at the front of the batch are done with. They are delivered, but
	// for those that the other fields name.
	Settled int

	// Refused are those among them that the sink can never take, in the order of the batch.
	// [OnError] says what becomes of them.
	Refused Refusals

	// Omitted are the indices of those among them that were left out as configured, in the order of
	// the batch. The ledger counts them as dropped.
	Omitted []int
}

// Refusal says of one message why it can never go on: a source cannot hand it on whole, or a sink
// can never take it. It is about the message and never about the connection, which others share.
type Refusal struct {
	Index int // in the batch
	Err   error
}

// Refusals are in the order of the batch, at most one for each message. As an error of
// [Source.Read] they come with the batch that they are about, whose refused messages hold what
// there is of them, which is all if the reason is [Whole].
type Refusals []Refusal //nolint:errname // they come beside a batch, and seldom as an error

func (r Refusals) Error() string {
	if len(r) == 0 {
		return "no message was refused"
	}
	return r[0].Err.Error()
}

// Cut returns the refusals of the first n messages, and those of the others as seen from there.
func (r Refusals) Cut(n int) (first, rest Refusals) {
	k := 0
	for k < len(r) && r[k].Index < n {
		k++
	}
	rest = slices.Clone(r[k:])
	for i := range rest {
		rest[i].Index -= n
	}
	return r[:k], rest
}

// Step transforms batches between source and sink. An instance is single-use, as a Source is.
type Step interface {
	// Process says of each message of the batch, by out, what becomes of it. It must not change
	// payloads or headers in place, and not keep the batch. A message about which it says nothing
	// is an error of the step, never a silent drop.
	//
	// The batch is empty when [Output.Wake] asked for the call. When [Output.Last] is true, which
	// happens once if the step, or another one, has held something, it has what a step in front
	// lets go of.
	//
	// It is never called from two goroutines at once. After an error or a panic the engine closes
	// the instance, gives what is not delivered back to the sources, and begins anew with what they
	// deliver again, each message in a call of its own: one at which the step fails [OnError].Tries
	// times in a row, and would fail if it held nothing, counts as refused by it. [Permanent] says
	// that trying again would be in vain, and stops the pipeline. A step that merely dislikes a
	// message drops or refuses it.
	Process(ctx context.Context, batch Batch, out *Output) error

	// Close frees the instance. It may be called more than once, and does nothing the second time.
	Close() error
}

// Opener opens instances of T, which is [Source], [Sink] or [Step].
type Opener[T any] interface {
	// Settings returns a pointer to a new struct that holds the defaults, for
	// the configuration to be decoded into. Fields carry a yaml tag; see
	// package config for the others. If *struct has a method Validate() error,
	// that is called when all keys are set; [KeyError] names the guilty one. If it
	// has a method Describe() [Description], that says what it guarantees.
	Settings() any

	// Check returns what is wrong with settings beyond what Validate says, since somebody must be
	// asked for that. ctx bounds the asking.
	Check(ctx context.Context, settings any) error

	// Open makes an instance from settings that Settings returned. ctx covers the opening only.
	// [Permanent] says that trying again is in vain: bad credentials, a missing file, no
	// permission. What may pass by itself, an unknown host say, is not permanent.
	Open(ctx context.Context, settings any, env Env) (T, error)
}

// NewOpener makes an Opener of a struct of defaults and a function, so that
// connectors see their own settings type only.
func NewOpener[S, T any](defaults S, open func(ctx context.Context, s *S, env Env) (T, error)) Opener[T] {
	return opener[S, T]{defaults, open}
}

type opener[S, T any] struct {
	defaults S
	open     func(context.Context, *S, Env) (T, error)
}

func (o opener[S, T]) Settings() any { s := o.defaults; return &s }

func (opener[S, T]) Check(context.Context, any) error { return nil }

func (o opener[S, T]) Open(ctx context.Context, settings any, env Env) (T, error) {
	return o.open(ctx, settings.(*S), env)
}

// Connector describes one technology: its name in YAML and what it can open.
// The same value is compiled in as a built-in or served by a plugin process;
// the engine cannot tell.
type Connector struct {
	// Name is the type in YAML: [a-z][a-z0-9_-]*.
	Name string

	// Summary is one line for lists.
	Summary string

	// Delivery is a sentence about how sure delivery is, for people.
	Delivery string

	// Headers are those that a source sets beside what messages bring along, each with what it
	// says: "mqtt_retained: true for …".
	Headers []string

	// Example is a commented YAML document that shows every setting.
	Example string

	// Source, Sink and Step are nil where the technology has none.
	Source Opener[Source]
	Sink   Opener[Sink]
	Step   Opener[Step]
}

// DefaultMaxBatch is Env.MaxBatch where nothing else is configured.
const DefaultMaxBatch = 1024

// Env is what the engine lends to an instance. Its functions are never nil, and safe from any
// goroutine.
type Env struct {
	// Pipeline is the name of the pipeline.
	Pipeline string

	// Instance names the place in the pipeline, the same after each restart
	// and unique in the process: "sensors-from", "sensors-to-2". It is made of
	// letters, digits, - and _, fit for a client id or a consumer name.
	Instance string

	// Logger is never nil and bears pipeline, connector and direction.
	Logger *slog.Logger

	// Clock is what an instance asks for the time that decides what becomes of messages, so that
	// tests can let it pass.
	Clock Clock

	// Stopping is closed when the pipeline is to stop. A step that waits within Process goes on
	// then: the call that lets go of all is still to come. Nil for sources and sinks.
	Stopping <-chan struct{}

	// Stdin and Stdout are what the process's are for.
	Stdin  io.Reader
	Stdout io.Writer

	// MaxBatch is the most messages that a Read may return; at least 1.
	MaxBatch int

	// Tries is how often a message may fail in a sink or step before it is refused, see [OnError];
	// 0 means for ever.
	Tries int

	// Dropped is called by a source that had to drop n messages which its system had handed over,
	// or knows to have lost, where the technology offers nothing better (MQTT QoS 0, core NATS, a
	// portal's ring). The ledger counts them as received and dropped. A negative n takes back what
	// an instance before has counted, and is there after all.
	Dropped func(n int)

	// Progress is called by a source that knows how much there is to read, whenever that changes:
	// how many of how many bytes have been read. A total of 0 is not known.
	Progress func(done, total int64)

	// NeedID is called, before Open returns, by a sink that passes Message.ID on to a system that
	// de-duplicates by it. Then no message that is written to it has an empty ID.
	NeedID func()

	// Checkpoint is where a source leaves how far it has come, for the instance that follows it in
	// its place, be it after a restart of the process if the pipeline has a [State]. Nil for sinks
	// and steps.
	Checkpoint Checkpoint
}

// Checkpoint keeps a few bytes for a source. A source saves what was acknowledged, and
// nothing before that, once it is open. A [Saver] does that for it, neither too often nor too late.
type Checkpoint interface {
	// Load returns what was saved last, nil if nothing was.
	Load(ctx context.Context) ([]byte, error)

	// Save replaces what was saved. It keeps no reference to b.
	Save(ctx context.Context, b []byte) error
}

// Description is what settings say about the source, sink or step that they make, for people and
// for the checks before the start.
type Description struct {
	Guarantee Guarantee
	Traffic   Traffic

	// Exclusive names what no other instance may use at the same time; the empty string names
	// nothing.
	Exclusive string

	// Ends says of a source that its input has an end, like a file that is not followed: a pipeline
	// that failed is not started again by itself then.
	Ends bool

	// MaxUnacked is how many messages the system of a source hands over before it waits for an
	// acknowledgement; 0: any number.
	MaxUnacked int

	// Where says where a source has the message to which it gave that ID, for people who look for
	// it: "byte 130". Nil if it cannot say; empty if it knows no such ID.
	Where func(id string) string

	// Holds says of a step that it may keep messages for later, and Forgets that it remembers
	// something of those before, which is gone at a restart.
	Holds, Forgets bool

	// Paced says of a step that it lets go of each message in its own time, and how many may wait
	// for that: what is read beyond that waits in front of the steps, and so does the end of the
	// input. A stop does not, and what steps in front of it hold until that end goes through it at
	// once.
	Paced int

	// Grows returns how many bytes a step may make of a payload of so many: a packed one, say. No
	// more messages of a pipeline are on their way at once than may become 1 GiB together. Nil: not
	// many more.
	Grows func(size int) int

	// Reads are files, beside those that the settings name, that are read when an instance is
	// opened, so that a change of their content is one of the settings.
	Reads []string

	// Notes are what the settings do that their author may not want, a sentence each without a full
	// stop, for people who check them.
	Notes []string
}

// Described is implemented by settings that know more about what they make than their connector
// does.
type Described interface {
	Describe() Description
}

// OneRunner is implemented by settings of a source that leaves something behind for the one which
// goes on with it, unless they say what that is called.
type OneRunner interface {
	// OneRun is called before Validate where no other run follows, as of settings that stand on a
	// command line: then nothing is to stay behind, and others are not to be in each other's way.
	OneRun()
}

// Forgetter is implemented by settings of a source for which its system keeps something beyond a
// connection, like a durable consumer or the session of a client.
type Forgetter interface {
	// Keeps names that, for people, with its system: "the session of client id x at host"; empty if
	// nothing is kept. It asks nobody. Of env it has Pipeline and Instance only.
	Keeps(env Env) string

	// Forget ends that, so that the source begins anew, and reports whether it was there. It is
	// called while no instance is open. Of env it has Pipeline, Instance and Logger only.
	Forget(ctx context.Context, env Env) (ended bool, err error)
}

// Prober is implemented by settings of a source or sink whose system can be asked whether an
// instance would be let in, and would find what the settings name.
type Prober interface {
	// Probe finds that out, and changes nothing: it makes, takes over, reads up, acknowledges and
	// sends nothing, and whoever runs beside it does not notice. Of env it has Pipeline, Instance,
	// Logger and MaxBatch only.
	Probe(ctx context.Context, env Env) (Probed, error)
}

// Probed is what a [Prober] has found out, for people: phrases without a full stop.
type Probed struct {
	Tried    []string // and is right: "logged in at mqtt://host"
	NotTried []string // since it would change something, or is not there yet: "publish to a/b"
}

// Endpoint is a place in a pipeline: a connector with its settings bound.
type Endpoint[T any] struct {
	// Type is the name of the connector, for logs and errors.
	Type string

	// Open opens an instance, see [Opener].
	Open func(ctx context.Context, env Env) (T, error)

	// Keeps names what the system of a source keeps for it, and Forget ends that, see [Forgetter];
	// nil: that is nothing.
	Keeps  func(env Env) string
	Forget func(ctx context.Context, env Env) (ended bool, err error)

	// Probe finds out whether an instance can be opened, see [Prober]; nil: that cannot be asked.
	Probe func(ctx context.Context, env Env) (Probed, error)

	Description

	// OnError says what becomes of messages that are refused here; nil: what the pipeline says.
	OnError *OnError

	// KeepIDs says of a source that its messages have been in an engine before, and keep the IDs
	// that they have.
	KeepIDs bool
}
