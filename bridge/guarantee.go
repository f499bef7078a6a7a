package bridge

// Guarantee says how sure a message is at one place of a pipeline.
type Guarantee struct {
	Level Level
	Why   string // in a few words, of the settings that decide

	// StableIDs says of a source that a message that comes again has the same Message.ID, also
	// after a restart, and of a step that it then makes the same messages of it. Without, a sink
	// cannot know it.
	StableIDs bool
}

// Level is how often a message may arrive, from bad to good.
type Level int

// The levels. What is unknown may be anything.
const (
	LevelUnknown     Level = iota
	LevelAtMostOnce        // it may be lost
	LevelAtLeastOnce       // it is not lost, and may arrive again after trouble
	LevelOnce              // the system that it goes to keeps one of several with the same id
)

func (l Level) String() string {
	switch l {
	case LevelAtMostOnce:
		return "at most once"
	case LevelAtLeastOnce:
		return "at least once"
	case LevelOnce:
		return "once, de-duplicated"
	default:
		return "unknown"
	}
}

// Traffic says what a source reads or a sink writes, as far as its settings tell, to find loops.
type Traffic struct {
	System  string   // the same for all that are connected to the same one: "mqtt://broker:1883"; empty: not known
	Topics  []string // what all topics begin with that are read
	Topic   Template // that of what is written
	Headers bool     // the system carries headers
	Link    string   // a connection by which nothing comes back that was written by it; empty: there is none
	LinkBy  string   // the setting of source and sink that makes one

	// Reads reports whether a source may read that topic, or any that begins so; nil: as Topics
	// say.
	Reads func(topic string, whole bool) bool

	// Besides are what a sink writes beside a constant Topic.
	Besides []string

	// Apart is how what is read is kept apart from what is written; empty: by a prefix.
	Apart string

	// HeadersBy is the setting that would make it carry headers, as it is written; empty: none
	// does.
	HeadersBy string
}
