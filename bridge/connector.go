package bridge

import (
	"context"
	"io"
	"log/slog"
)

// Source reads batches from somewhere. An instance is single-use: it is
// opened, read, closed and thrown away, and reconnecting is opening another.
type Source interface {
	// Read returns the messages that are there now, waiting only while there is
	// none, and never to fill a batch. The batch has at most Env.MaxBatch
	// messages; ack is not nil if the batch is not empty.
	//
	// Read is called from one goroutine, and again only when the pipeline has
	// room: back-pressure is a Read that is not called. It returns ctx.Err()
	// soon after ctx is done, without losing a message by that, and is not called again then.
	//
	// io.EOF says that the input is finished: the engine settles what is in
	// flight and ends this source with success. After any other error, be it one
	// that wraps io.EOF (a connection that broke), the engine closes the instance,
	// waits (back-off with jitter), and opens a new one; [Permanent] says that this
	// would be in vain, and stops the pipeline. A batch that comes with an error is
	// handled before the error.
	Read(ctx context.Context) (batch Batch, ack Ack, err error)

	// Close frees the instance, making a blocked Read return. It may be called
	// more than once, and does nothing the second time.
	Close() error
}

// Sink writes batches somewhere. An instance is single-use, as a Source is.
type Sink interface {
	// Write delivers the batch in order and returns when that is as certain as
	// the technology can make it; hence Close has nothing to flush. n messages
	// at the front of the batch are delivered; if n < len(batch), err says why.
	// A sink may have sent messages behind the first n too: they come again.
	//
	// After an error the engine closes the instance and writes the rest of the
	// batch to a new one. An error wrapped by [Permanent] says that message n itself can
	// never be delivered here, and nothing of the instance, which goes on being used if the
	// pipeline is configured to leave such messages out.
	//
	// Write must not change the batch, nor keep it or its payloads after it returned. It is
	// called from several goroutines at once only if the pipeline sets
	// max_in_flight above 1. It returns soon after ctx is done.
	Write(ctx context.Context, batch Batch) (n int, err error)

	// Close frees the instance, making a blocked Write return. It may be called
	// more than once, and does nothing the second time.
	Close() error
}

// Step transforms batches between source and sink.
type Step interface {
	// Process returns the messages that go on, in order. It may reuse the
	// batch's backing array, and must not change payloads or headers in place.
	// It is never called from two goroutines at once. An error stops the
	// pipeline: a step that merely dislikes a message drops or marks it.
	Process(ctx context.Context, batch Batch) (Batch, error)
}

// Identifying is implemented by sinks that pass Message.ID on to a system that
// de-duplicates by it. The engine then sees to it that no message
// written to such a sink has an empty ID.
type Identifying interface {
	Sink
	NeedsID() bool
}

// Measurable is implemented by sources that know how much there is to read.
type Measurable interface {
	Source
	// Progress returns how many of how many bytes have been read; total is 0
	// if it is not known. It may be called from any goroutine.
	Progress() (done, total int64)
}

// Opener opens instances of T, which is [Source], [Sink] or [Step].
type Opener[T any] interface {
	// Settings returns a pointer to a new struct that holds the defaults, for
	// the configuration to be decoded into. Fields carry a yaml tag; see
	// package config for the others. If *struct has a method Validate() error,
	// that is called when all keys are set; [KeyError] names the guilty one.
	Settings() any

	// Open makes an instance from settings that Settings returned. ctx
	// covers the opening only. [Permanent] says that trying again is in vain.
	Open(ctx context.Context, settings any, env Env) (T, error)
}

// Checker is implemented by openers that can tell more mistakes in settings than their struct does,
// because they must ask somebody.
type Checker interface {
	// Check returns what is wrong with settings, as their method Validate would. ctx bounds the asking.
	Check(ctx context.Context, settings any) error
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

	// Example is a commented YAML document that shows every setting.
	Example string

	// Source, Sink and Step are nil where the technology has none.
	Source Opener[Source]
	Sink   Opener[Sink]
	Step   Opener[Step]
}

// Env is what the engine lends to an instance.
type Env struct {
	// Pipeline is the name of the pipeline.
	Pipeline string

	// Instance names the place in the pipeline, the same after each restart
	// and unique in the process: "sensors-from", "sensors-to-2". It is made of
	// letters, digits, - and _, fit for a client id or a consumer name.
	Instance string

	// Logger is never nil and bears pipeline, connector and direction.
	Logger *slog.Logger

	// Stdin and Stdout are what the process's are for.
	Stdin  io.Reader
	Stdout io.Writer

	// MaxBatch is the most messages that a Read may return; at least 1.
	MaxBatch int

	// Dropped is called by a source that had to drop n messages which its
	// system had handed over, or knows to have lost, where the technology offers nothing better (MQTT QoS 0,
	// core NATS, a portal's ring). The ledger counts them as received and dropped. A sink calls it during Write for
	// messages that it will count as delivered although it left them out, as configured; the ledger then counts them as dropped
	// instead. Never nil, safe from any goroutine.
	Dropped func(n int)

	// Checkpoint is where a source leaves how far it has come, for the instance that
	// follows it in its place, be it after a restart of the process if the pipeline has a [State]. Nil for sinks and steps.
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
