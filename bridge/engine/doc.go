// Package engine runs pipelines of sources, steps and sinks. Whatever is hard about moving messages
// is done once, here: opening again with back-off, batching, the window of batches in flight,
// routing, settling in order, counting, draining. It needs nothing but the standard library.
//
// # Guarantees
//
// A batch is acknowledged to its source when every sink that a message of it was for has confirmed
// it, and not before; what was refused has then gone where [bridge.OnError] says, and what a step
// made of messages that it held has been delivered. So delivery is at least once from any source
// that can deliver again to any sink that confirms. With one batch in flight, the default, messages
// keep their order, also over retries; with more, they keep it per key if the pipeline says so.
//
// The engine reads a batch only when it can be written: a slow sink is felt by its source as a Read
// that is not called, and memory does not grow.
//
// # Decisions
//
// A failure that cannot be attributed is blamed on nobody until one message has been written alone
// (2026-11), which is what the engine does after any failure.
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
// A batch that is given back says how far it is settled, and the first batches of a run go in
// portions of one message, then two, four, and so on (2026-11). So a message that stops its
// pipeline takes nothing with it: what stands before it is settled, and at the next start it is
// alone.
//
// One batch that is given back holds back those behind it (2026-11), though they were delivered:
// what a source knows may be no more than a position. They come twice, which a failure excuses.
package engine
