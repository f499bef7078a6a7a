package monitor

import "time"

// Status is what a running bridge says of itself. Its JSON is what GET /status, status --json, top
// and the page show; fields are added and never change their meaning.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`

	// Ready says that every pipeline that is not optional is connected on all required ends, and
	// that the bridge is not stopping. Reasons say why it is not.
	Ready    bool     `json:"ready"`
	Draining bool     `json:"draining"`
	Reasons  []string `json:"reasons,omitempty"`

	Config Config `json:"config"`

	Pipelines []Pipeline `json:"pipelines"`
}

// Config says which configuration runs.
type Config struct {
	Files    []string  `json:"files,omitempty"`
	Loaded   time.Time `json:"loaded"`
	Reloads  uint64    `json:"reloads"`            // that went through
	Rejected *Rejected `json:"rejected,omitempty"` // the last one, unless one after it went through
}

// Rejected is a reload that changed nothing.
type Rejected struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// State is what a pipeline does.
type State string

// The states of a pipeline.
const (
	Starting State = "starting" // not everything is open that has to be
	Running  State = "running"
	Degraded State = "degraded" // it runs, and an end of it is not open, or nothing has come for StaleAfter
	Waiting  State = "waiting"  // it has failed, and will be started again
	Failed   State = "failed"   // for good
	Paused   State = "paused"
	Draining State = "draining" // it stops, and delivers what it has read
	Finished State = "finished" // its input has ended, and all is delivered
)

// Pipeline is one pipeline.
type Pipeline struct {
	Name     string     `json:"name"`
	State    State      `json:"state"`
	Reason   string     `json:"reason,omitempty"`      // of the state, with what to do about it
	Since    time.Time  `json:"since"`                 // of the state
	Again    *time.Time `json:"tries_again,omitempty"` // of one that waits: when it is started again
	Notes    []string   `json:"notes,omitempty"`       // what else keeps messages from being delivered, or may do so
	Optional bool       `json:"optional,omitempty"`
	Restarts uint64     `json:"restarts"`

	Ledger   Ledger     `json:"ledger"`
	Reasons  []Count    `json:"reasons,omitempty"` // of what was dropped and dead-lettered, which they add up to
	Returned Returned   `json:"returned"`
	BytesIn  uint64     `json:"bytes_in"` // of payloads, as Messages of the ends are counted
	BytesOut uint64     `json:"bytes_out"`
	Owed     uint64     `json:"owed"` // messages read and not settled, and those in the buffer
	Oldest   *time.Time `json:"oldest_owed,omitempty"`
	LastIn   *time.Time `json:"last_in,omitempty"`
	LastOut  *time.Time `json:"last_out,omitempty"`
	In       Rates      `json:"in"`  // received
	Out      Rates      `json:"out"` // delivered

	// Progress is of inputs that have an end.
	Progress *Progress `json:"progress,omitempty"`

	Ends   []End   `json:"ends"`
	Errors []Error `json:"errors,omitempty"` // the latest, newest first
}

// Ledger is that of the engine, of one moment; see [engine.Ledger].
type Ledger struct {
	Carried      uint64 `json:"carried"`
	Received     uint64 `json:"received"`
	Made         uint64 `json:"made"`
	Delivered    uint64 `json:"delivered"`
	Filtered     uint64 `json:"filtered"`
	Merged       uint64 `json:"merged"`
	DeadLettered uint64 `json:"dead_lettered"`
	Dropped      uint64 `json:"dropped"`
	Buffered     uint64 `json:"buffered"`
	InFlight     uint64 `json:"in_flight"`
}

// Returned is [engine.Returned]: what was given back to the sources, and is no longer in the Ledger.
type Returned struct {
	Received uint64 `json:"received"`
	Made     uint64 `json:"made"`
}

// Count is how many messages had an outcome for a reason: what refused them, or who dropped them.
type Count struct {
	Outcome string `json:"outcome"` // dropped or dead_lettered
	Reason  string `json:"reason"`  // source, step, sink, buffer, or stop
	N       uint64 `json:"n"`
}

// Rates are per second.
type Rates struct {
	Messages   float64 `json:"messages_10s"`
	Bytes      float64 `json:"bytes_10s"`
	Messages5m float64 `json:"messages_5m"`
	Bytes5m    float64 `json:"bytes_5m"`
}

// Progress is how far inputs that have an end were read.
type Progress struct {
	Done  int64    `json:"done_bytes"`
	Total int64    `json:"total_bytes"`
	Left  *float64 `json:"seconds_left,omitempty"` // at the rate of the last five minutes; not known at first
}

// EndState is what an end does.
type EndState string

// The states of an end.
const (
	EndIdle       EndState = "idle"       // nobody has opened it
	EndConnecting EndState = "connecting" // it is being opened, for the first time or again
	EndUp         EndState = "up"
	EndDown       EndState = "down" // opening it has failed, or it was lost; it is tried again
	EndClosed     EndState = "closed"
)

// End is a source, a step or a sink.
type End struct {
	Instance string    `json:"instance"` // unique in the bridge: sensors-to-2
	Kind     string    `json:"kind"`     // source, step, sink, dead_letter or buffer
	Type     string    `json:"type"`     // as in the YAML
	State    EndState  `json:"state"`
	Reason   string    `json:"reason,omitempty"` // why it is down, with what to do about it
	Since    time.Time `json:"since"`
	Optional bool      `json:"optional,omitempty"` // its pipeline runs without it

	// Permanent says that trying it again does not mend why it is down.
	Permanent bool `json:"permanent,omitempty"`

	After []string `json:"after,omitempty"` // the ends whose messages it gets

	// What a source has read, a step has got, a sink has taken. Messages that come again count
	// again.
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	Refused  uint64     `json:"refused"`
	Passed   uint64     `json:"passed"` // by a step: what has gone on behind it
	Opened   uint64     `json:"opened"` // how often
	Last     *time.Time `json:"last,omitempty"`
	Rates    Rates      `json:"rates"`
}

// Error is what went wrong somewhere.
type Error struct {
	At       time.Time `json:"at"`       // the last time
	Instance string    `json:"instance"` // empty: of the pipeline itself
	Text     string    `json:"text"`
	N        uint64    `json:"n"` // how often in a row
}

// String returns what went wrong, and where, if that is a place in the pipeline.
func (e Error) String() string {
	if e.Instance == "" {
		return e.Text
	}
	return e.Instance + ": " + e.Text
}
