// Package plugin is for authors of connector plugins in Go: programs that the bridge starts and
// talks to, so that a connector needs not be compiled in, and its crash is nobody else's.
//
// A plugin serves the very [bridge.Connector] that a built-in is:
//
//	func main() { plugin.Serve(clock.Connector()) }
//
// Its configuration is decoded and checked like a built-in's, a message, batch, ack and error is
// the same, and so are the rules of [bridge.Source], [bridge.Sink] and [bridge.Step]. Package
// bridgetest tests whether it keeps them. What differs:
//
//   - bridge.Env.Stdin is empty and Stdout goes to the bridge's log, since the real ones belong to the bridge.
//   - bridge.Env.Logger reaches the bridge's log, with the plugin's name. So does what is printed.
//   - A message that is larger than the plugin's limit (16 MiB unless set) is refused.
//   - A Read that has waited for limits.call of the plugin (30 s) is interrupted by its context, and
//     called again: that is how a source that waits is told from one that hangs. Whatever does not
//     return within five seconds of being interrupted costs the process its life.
//   - A step whose process is lost while it holds nothing is opened again, and its batch sent once
//     more, without a word to the engine. If that costs the process its life again, it is a failure
//     of the step: as at a sink, who is alone in the call is refused after as many of these as
//     retry.max of on_error says, which do not count for limits.crashes then.
//
// The process has the environment that the configuration lists and no more, and ends with the
// bridge, whatever happens to that. Plugins are trusted code: they run with the rights of the
// bridge's user.
//
// # The wire
//
// pluginpb/connector.proto is the contract, for other languages too. Calls are unary and carry
// batches. Streams save about 30 µs a call, which a batch of 100 messages does not notice, and a
// unary call has a deadline, an outcome and a place in every debugger. A batch goes by column, not
// as a list of messages, which is what makes a million messages a second possible: see
// BenchmarkPlugin.
package plugin
