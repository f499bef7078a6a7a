// Package bridge moves messages between systems. It holds the vocabulary (Message, Batch, Source,
// Sink, Step, Connector) and the engine that runs pipelines of them. It needs nothing but the
// standard library.
//
// A [Source], a [Sink] and a [Step] have two methods each. Whatever is hard about moving messages
// is done once, here: opening again with back-off, batching, the window of batches in flight,
// routing, settling in order, counting, draining. A connector returns errors and never retries.
//
// # Guarantees
//
// A batch is acknowledged to its source when every sink that a message of it was for has confirmed
// it, and not before; what was refused has then gone where [OnError] says, and what a step made of
// messages that it held has been delivered. So delivery is at least once from any source that can
// deliver again to any sink that confirms. With one batch in flight, the default, messages keep
// their order, also over retries; with more, they keep it per key if the pipeline says so.
//
// The engine reads a batch only when it can be written: a slow sink is felt by its source as a Read
// that is not called, and memory does not grow.
//
// # Identity
//
// A [Message.ID] means one message for ever, to every sink of every pipeline, and is never given
// twice, over any loss. A source sets it only if its system gives the same message the same one
// each time it delivers it, and needs to tell apart its own messages only: the engine puts the
// instance of the source in front. What a step makes of a message beside another has the ID of that
// message with a number behind it; what it makes of messages that it held has none. A message
// without an ID that needs one gets it from the engine: it is random for each run, and so holds as
// long as the message is retried, or for ever once it is in a buffer. From this follows the rest: a
// sink that de-duplicates recognises what comes again and never takes two messages for one; a
// message that two sinks refused is two dead letters; and the numbers of records in a buffer, which
// may be given twice when its newest ones are lost, are no identity.
//
// # Decisions
//
// Two-method interfaces and single-use instances (2026-11): an instance is opened, used and closed;
// after any error a new one is opened. Losing a broker and losing a plugin process are therefore
// one path, and no connector holds a reconnect state.
//
// Errors are about instances, results about messages (2026-11): a sink that cannot say which of
// them failed makes one bad message the end of a good connection, or the other way round. What
// cannot be attributed is blamed on nobody until one message has been written alone.
//
// Acknowledging is a function returned beside the batch, called in the order of reading (2026-11):
// a message holds no state and may be copied; a source needs to remember one batch only.
//
// Natural batching (2026-11): Read returns what is there and never waits for more, so a lone
// message leaves at once, and while a sink is busy the next batch grows by itself. No timer is on
// the way of a message.
//
// What a batch becomes is a flight, numbered in the order of reading (2026-11). Steps and routing
// see the flights in that order; only writing runs side by side. A step that holds says up to which
// flight it holds nothing any more, and a batch is acknowledged when all flights up to that one are
// delivered: one number for each step is all the bookkeeping, however steps and branches follow one
// another.
//
// A buffer makes two pipelines of one (2026-11): from the sources to the buffer, which is a sink
// there, and from the buffer, which is a source, to the sinks. The engine knows nothing else about
// it, and a pipeline without a buffer pays nothing for it.
//
// One batch that is given back holds back those behind it (2026-11), though they were delivered:
// what a source knows may be no more than a position. They come twice, which a failure excuses.
//
// An explicit registry (2026-11): connectors are listed by name in one place, nothing is registered
// by being imported.
package bridge
