// Package bridge holds the words that connectors, steps, plugins, the configuration and the engine
// share: Message, Batch, Source, Sink, Step, Connector. It needs nothing but the standard library.
// Package engine moves messages between what they stand for.
//
// A [Source], a [Sink] and a [Step] have two methods each. A connector returns errors and never
// retries: whatever is hard about moving messages is done once, in the engine.
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
// them failed makes one bad message the end of a good connection, or the other way round.
//
// Acknowledging is a function returned beside the batch, called in the order of reading (2026-11):
// a message holds no state and may be copied; a source needs to remember one batch only.
//
// Natural batching (2026-11): Read returns what is there and never waits for more, so a lone
// message leaves at once, and while a sink is busy the next batch grows by itself. No timer is on
// the way of a message.
//
// An explicit registry (2026-11): connectors are listed by name in one place, nothing is registered
// by being imported.
package bridge
