package faulttest

import "fmt"

// Report is what a [Ledger] found, in messages.
type Report struct {
	Sent          int // handed to whoever is under test
	Accepted      int // of these, it took responsibility for
	Delivered     int // that arrived, each counted once
	Lost          int // accepted, but neither delivered nor a dead letter, nor dropped or buffered by what was told
	Unsure        int // delivered but not accepted: the answer got lost
	Duplicated    int // deliveries after the first of a message
	Reordered     int // first deliveries with a lower counter than the one before of the same producer and key
	Corrupt       int // payloads that were changed, or that nobody had sent
	DeadLettered  int // put aside, each counted once
	Dropped       int // given up, as told
	StillBuffered int // not delivered yet, as told
}

// String returns all numbers in one line.
func (r Report) String() string {
	return fmt.Sprintf("sent=%d accepted=%d delivered=%d lost=%d unsure=%d duplicated=%d reordered=%d corrupt=%d "+
		"dead=%d dropped=%d buffered=%d",
		r.Sent, r.Accepted, r.Delivered, r.Lost, r.Unsure, r.Duplicated, r.Reordered, r.Corrupt, r.DeadLettered,
		r.Dropped, r.StillBuffered)
}
