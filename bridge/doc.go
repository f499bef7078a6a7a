// Package bridge moves messages between systems. It holds the vocabulary
// (Message, Batch, Source, Sink, Step, Connector) and the engine that runs
// pipelines of them. It needs nothing but the standard library.
//
// A [Source] and a [Sink] have two methods each. Whatever is hard about moving
// messages is done once, here: opening again with back-off, batching, the window of
// batches in flight, settling in order, counting, draining. A connector
// returns errors and never retries.
//
// # Guarantees
//
// A batch is acknowledged to its source when every sink has confirmed every
// message of it, and not before. So delivery is at least once from any
// source that can deliver again to any sink that confirms. With one batch in flight,
// the default, messages keep their order, also over retries.
//
// The engine reads a batch only when it can be written: a slow sink is felt by
// its source as a Read that is not called, and memory does not grow.
//
// # Decisions
//
// Two-method interfaces and single-use instances (2026-11): an instance is opened, used
// and closed; after any error a new one is opened. Losing a broker and losing a
// plugin process are therefore one path, and no connector holds a reconnect state.
//
// Acknowledging is a function returned beside the batch, called in the order of reading
// (2026-11): a message holds no state and may be copied; a source needs to
// remember one batch only.
//
// Natural batching (2026-11): Read returns what is there and never waits for more, so a
// lone message leaves at once, and while a sink is busy the next batch grows by itself.
// No timer is on the way of a message.
//
// A buffer makes two pipelines of one (2026-11): from the sources to the buffer, which is a sink
// there, and from the buffer, which is a source, to the sinks. The engine knows nothing else about
// it, and a pipeline without a buffer pays nothing for it.
//
// One batch that is refused holds back those behind it (2026-11), though they were delivered: what a
// source knows may be no more than a position. They come twice, which a failure excuses.
//
// An explicit registry (2026-11): connectors are listed by name in one place,
// nothing is registered by being imported.
package bridge
