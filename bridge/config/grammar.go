package config

import (
	"reflect"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// The keys of a file that are not settings of a connector, with the tags of settings. What reads
// them takes names, words, bounds and what is required from here, and so do [Loader.Schema] and
// [Parts], so that none of them says what another one does not.

// fileKeys are those at the top, beside the sections.
type fileKeys struct {
	Pipelines    pipelineMap                `yaml:"pipelines" doc:"what is moved from where to where; a name has letters, digits, - and _"`
	Connections  map[string]connectionEntry `yaml:"connections" doc:"settings that sources and sinks have in common: connection: NAME among theirs takes them over"`
	FailFast     bool                       `yaml:"fail_fast" doc:"the failure of one pipeline stops the others"`
	DrainTimeout time.Duration              `yaml:"drain_timeout" default:"10s" doc:"how long a stop may take to deliver what has been read"`
}

type pipelineKeys struct {
	Description string          `yaml:"description" doc:"a text for people; check shows it"`
	Enabled     bool            `yaml:"enabled" default:"true" doc:"false: the pipeline is checked and does not run, and its state stays"`
	From        []sourceEntry   `yaml:"from,required" doc:"where messages come from: one source, or a list"`
	Steps       []stepEntry     `yaml:"steps" doc:"what messages go through, in order"`
	To          sinkEntry       `yaml:"to,required" doc:"where messages go: one sink, or a tree of all, route, any and share"`
	Buffer      bufferKeys      `yaml:"buffer" enum:"memory|disk" default:"memory" doc:"where messages wait for the sinks; on disk they survive the process, and are acknowledged at once"`
	OnError     onErrorKeys     `yaml:"on_error" doc:"what becomes of a message that is refused; that of a source, step or sink narrows it key by key"`
	Restart     pauses          `yaml:"restart" enum:"off|false" doc:"how a pipeline that failed is started again"`
	OrderBy     bridge.Template `yaml:"order_by" doc:"an expression: messages for which it is the same keep their order, though max_in_flight is above 1"`
	MaxInFlight int             `yaml:"max_in_flight" min:"1" max:"10000" default:"1" doc:"batches that are written at once; 1 keeps the order"`
	MaxBatch    int             `yaml:"max_batch" min:"1" max:"1000000" default:"1024" doc:"most messages of a batch"`
	StaleAfter  time.Duration   `yaml:"stale_after" doc:"a pipeline to which nothing has come for this long is shown as degraded; without it, silence is nothing"`
	Optional    bool            `yaml:"optional" doc:"true: the bridge is ready without this pipeline"`
}

// bufferKeys are a buffer with settings, where one word is one without.
type bufferKeys struct {
	Disk disk `yaml:"disk,required" doc:"a buffer that survives the process"`
}

type disk struct {
	MaxBytes bridge.Size `yaml:"max_bytes" default:"1GiB" doc:"most bytes that wait"`
	WhenFull string      `yaml:"when_full" enum:"block|reject|drop_oldest" default:"block" doc:"hold up the source, refuse what comes, or drop the oldest"`
}

// refusalKeys are on_error at a source, which refuses a message once.
type refusalKeys struct {
	Then       string      `yaml:"then,short" enum:"stop|drop|dead_letter" default:"stop" doc:"stop the pipeline, drop the message, or keep it as a dead letter"`
	DeadLetter letterEntry `yaml:"dead_letter" doc:"the sink for dead letters, if they are not to be kept in the state"`
	Threshold  threshold   `yaml:"threshold" doc:"stops the pipeline when more of the last messages are refused"`
}

// onErrorKeys are on_error elsewhere.
type onErrorKeys struct {
	refusalKeys `yaml:",inline"`
	Retry       retry `yaml:"retry" doc:"for what may work another time"`
}

// retry is how often and at which distance a message is tried.
type retry struct {
	Max    int `yaml:"max" min:"0" doc:"how often a message is tried; 0: for ever"`
	pauses `yaml:",inline"`
}

// pauses are the bounds of a pause that grows.
type pauses struct {
	Initial     time.Duration `yaml:"initial" doc:"the first pause; default: 250ms, of restart 1s"`
	MaxInterval time.Duration `yaml:"max_interval" doc:"the longest pause; default: 8s, of restart 5m"`
}

// threshold is how many messages may fail for good.
type threshold struct {
	Most   int `yaml:"most,required" min:"1" doc:"how many may be refused"`
	Window int `yaml:"window" min:"1" max:"100000" default:"100" doc:"of how many of the last messages"`
}

// Keys that may stand beside the connector of an entry.
type (
	besideSource struct {
		OnError refusalKeys `yaml:"on_error" doc:"what becomes of a message that the source cannot hand on whole"`
	}
	besideStep struct {
		OnError onErrorKeys `yaml:"on_error" doc:"what becomes of a message that the step refuses"`
	}
	besideSink struct {
		When        bridge.Condition `yaml:"when" doc:"which messages enter; without it, all"`
		Steps       []stepEntry      `yaml:"steps" doc:"what messages go through here, in order"`
		OnError     onErrorKeys      `yaml:"on_error" doc:"what becomes of a message that is refused here; not within any"`
		MaxInFlight int              `yaml:"max_in_flight" min:"1" max:"10000" doc:"batches that are written at once; default: as around it"`
		By          bridge.Template  `yaml:"by" doc:"beside share: an expression, whose messages all go to the same entry if it is the same for them"`
	}
)

// modeKeys may stand in place of the connector of a sink.
type modeKeys struct {
	All   []sinkEntry `yaml:"all" doc:"entries that all get every message"`
	Route []sinkEntry `yaml:"route" doc:"entries of which the first whose when holds gets a message; what no entry is for counts as filtered"`
	Any   []sinkEntry `yaml:"any" doc:"entries of which the first that takes it gets a message"`
	Share []sinkEntry `yaml:"share" doc:"entries over which messages are spread, in turn or by a key"`
}

// Values with a form of their own.
type (
	sourceEntry     struct{}
	stepEntry       struct{}
	sinkEntry       struct{}
	letterEntry     struct{} // a sink with nothing beside it
	connectionEntry struct{}
	pipelineMap     map[string]pipelineKeys
)

// form is implemented by types of values with a form of their own.
type form interface {
	words() string // for help
	schema(s *schemer) object
}

func (pipelineMap) words() string     { return "a mapping of pipelines" }
func (sourceEntry) words() string     { return "{CONNECTOR: settings}, or a list" }
func (stepEntry) words() string       { return "a list of {STEP: settings}" }
func (sinkEntry) words() string       { return "{CONNECTOR: settings}, or a tree" }
func (letterEntry) words() string     { return "{CONNECTOR: settings}" }
func (connectionEntry) words() string { return "{CONNECTOR: settings}" }

// Shapes of what is above. A mistake in it is found by any test.
var (
	fileShape     = mustShape[fileKeys]()
	pipelineShape = mustShape[pipelineKeys]()
	onErrorShape  = mustShape[onErrorKeys]()
	sinkShape     = mustShape[besideSink]()
	modeShape     = mustShape[modeKeys]()
)

func mustShape[T any]() *shape {
	s, err := shapeOf(reflect.TypeFor[T]())
	if err != nil {
		panic(err)
	}
	return s
}

// Part is a part of a file that holds keys of the bridge's own.
type Part struct {
	Name     string // "a file"
	Settings any    // for [Keys]
}

// Parts returns what a file has, but for the sections and the settings of connectors, for help.
func Parts() []Part {
	return []Part{
		{"a file", &fileKeys{}},
		{"a pipeline, and its parts", &pipelineKeys{}},
		{"a tree, in place of the connector of to", &modeKeys{}},
		{"an entry of to, beside its connector", &besideSink{}},
	}
}
