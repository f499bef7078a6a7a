// Package crashpoint lets a process die at a named point of the way of a message, for test F02.
// Built without the tag crashpoints, which is how anybody builds it, Reach does nothing and costs
// nothing.
//
// With the tag, the environment variable XRTCBRIDGE_CRASH=POINT:N kills the process, as SIGKILL
// does, when it reaches the point for the N-th time.
package crashpoint

// A Point is a place on the way of a message.
type Point string

// The points, in the order of the way.
const (
	Received         Point = "received"          // a source has returned a batch
	Delivering       Point = "delivering"        // the sinks are about to get a batch
	BufferStoring    Point = "buffer-storing"    // the buffer is about to store a record
	BufferStored     Point = "buffer-stored"     // the buffer has stored it
	LetterWritten    Point = "letter-written"    // a dead letter is durable, its message not settled
	Delivered        Point = "delivered"         // every sink has confirmed a batch
	CheckpointSaving Point = "checkpoint-saving" // a checkpoint is about to be saved, or the position in a buffer
	CheckpointSaved  Point = "checkpoint-saved"  // it is durable
	Acknowledged     Point = "acknowledged"      // the source knows
	Purging          Point = "purging"           // settled records are about to leave the buffer
	Purged           Point = "purged"            // they have
	Draining         Point = "draining"          // reading has been told to stop
)

// Points returns all of them.
func Points() []Point {
	return []Point{
		Received, Delivering, BufferStoring, BufferStored, LetterWritten, Delivered, CheckpointSaving, CheckpointSaved,
		Acknowledged, Purging, Purged, Draining,
	}
}

// Variable is the environment variable that says where to die.
const Variable = "XRTCBRIDGE_CRASH"

// Misordered is the environment variable that makes sources acknowledge what is not delivered yet,
// which is what the test must notice.
const Misordered = "XRTCBRIDGE_MISORDERED"
