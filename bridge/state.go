package bridge

import (
	"context"
	"time"
)

// State is what a bridge remembers beyond the life of its process. Its methods may be called from
// any goroutine, and start nothing: what they return does when it is used.
type State interface {
	// Checkpoint returns the checkpoint of a source, see [Env].
	Checkpoint(pipeline, instance string) Checkpoint

	// Buffer returns the buffer of a pipeline.
	Buffer(pipeline string, s BufferSettings) Buffer

	// DeadLetters returns a sink for the dead letters of a pipeline.
	DeadLetters(pipeline string) Endpoint[Sink]
}

// BufferSettings asks for a [Buffer].
type BufferSettings struct {
	// MaxBytes is how much it may hold; 0 leaves that to the state.
	MaxBytes Size

	// WhenFull is what happens then.
	WhenFull Overflow
}

// Overflow is what happens when a buffer is full.
type Overflow int

// What can happen when a buffer is full.
const (
	OverflowBlock      Overflow = iota // the sources wait
	OverflowReject                     // a message that has no room fails for good, and [OnError] says what becomes of it
	OverflowDropOldest                 // the oldest messages go, and are counted as dropped
)

// Buffer keeps messages between the sources and the steps of a pipeline. What its sink has
// confirmed it keeps until its source acknowledges it, beyond the life of the process. Sink and
// source are single-use instances, as any; there is one of each at a time.
type Buffer interface {
	// OpenSink and OpenSource open the two ends.
	OpenSink(ctx context.Context, env Env) (Sink, error)
	OpenSource(ctx context.Context, env Env) (Source, error)

	// Finish says whether no more will be written: then the source returns io.EOF when everything
	// is read.
	Finish(bool)

	// Held returns what it holds. It does not wait for anybody.
	Held() Held
}

// Held is what a [Buffer] holds: Before and what was stored since then are Now, what was
// acknowledged, and Lost.
type Held struct {
	Before uint64    // messages, when it was first opened
	Now    uint64    // messages
	Lost   uint64    // messages that were lost or dropped, be it known to the source or not
	Oldest time.Time // when the oldest message of Now was stored; zero: there is none
}
