package bridge

import "time"

// OnError says what becomes of a message that is refused, by a source, a step, a condition or a
// sink. The zero value tries for ever what may work another time, and stops the pipeline at what
// never will.
type OnError struct {
	// Tries is how often a message is written to a sink whose failure may pass, or given to a step
	// that fails at it, be it by an error, a panic or the end of a plugin's process; 0 means for
	// ever, with growing waits, and the log names the message again and again. A try counts for a
	// message only if that was the first one not settled of a write that failed by itself, or alone
	// in the call of a step that held nothing: one that held something is asked again without that.
	// Only a sink that is open is tried: that it cannot be opened is waited out, however long that
	// takes.
	Tries int

	// FirstWait and LongestWait bound the growing wait between attempts; 0 means 250 ms and 8 s.
	FirstWait, LongestWait time.Duration

	// Then is what happens to a message that failed for good.
	Then Fate

	// Most is how many of the last Window messages may fail for good at one place; one more stops
	// the pipeline, since then it is not the messages that are wrong. 0 means any number. Window is
	// 100 if it is 0.
	Most, Window int

	// DeadLetter is where it goes if Then is [FateDeadLetter], as a [DeadLetter]. The zero value
	// means the State of the pipeline.
	DeadLetter Endpoint[Sink]
}

// Fate is what happens to a message that failed for good.
type Fate int

// What can happen to a message that failed for good.
const (
	FateStop       Fate = iota // the pipeline stops with the reason; the message is given back to its source
	FateDrop                   // it is left out, counted and logged
	FateDeadLetter             // it goes to another sink; if that is down, the pipeline waits, and nothing is acknowledged
)
