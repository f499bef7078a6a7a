// Package simulation runs the whole engine under one seed, in tests only.
//
// A schedule is data that is drawn before anything runs: sources and what they have, steps that
// drop, refuse, make and hold, a tree of sinks that fail in every way that their contract allows,
// and what is done to the process: a stop, a second signal, a kill with all memory gone. It runs in
// a bubble of testing/synctest, where time passes when nothing else can happen.
//
// A model that knows nothing of the engine says where each message belongs, and is asked at each
// acknowledgement and at the end: nothing is lost, nothing acknowledged early or out of order,
// order is kept where it is promised, a message is not settled more often than it was read, what is
// refused is where it belongs, and the ledger is right to the message. Safety is judged all the
// time; then, when all faults are over, the pipeline must come to its end.
//
// A schedule that fails is cut down as long as it goes on failing, and printed. XRTCBRIDGE_SEED=N
// runs one again; XRTCBRIDGE_SCHEDULES=N and XRTCBRIDGE_SIMULATE=1h say how many, or how long.
//
// TestMutations proves that it sees: it plants faults into copies of the engine's files, each of
// which must be found.
package simulation
