// Package stdio provides the connector for the standard input and output of the process: one line
// is one message.
//
// # Settings
//
// The source has max_line, the longest line allowed. The sink has none.
//
// A message is a line without its newline. All other bytes pass unchanged, a carriage return before
// the newline too, and what stands after the last newline is a message. The sink writes payload and
// newline, so a payload that holds newlines becomes several lines. Several pipelines may write to
// standard output, and their lines do not mix; only one can read standard input.
//
// # Delivery
//
// At most once: standard input cannot be read again. A line that has been read is lost if the
// process dies before its delivery. Within the process none is lost: an instance goes on where the
// one before it stopped. As long as there is none, because the pipeline stops, say, what was read
// from standard input and not handed on counts as dropped.
//
// The sink has delivered a message when the system has taken its bytes: they are in the pipe or in
// the file, and nobody can say whether the other program has read them.
//
// # Errors
//
// A line longer than max_line is refused: on_error gets the first KiB of it, and the source goes on
// behind it. A standard output that is full, or whose reader has gone away, stops the pipeline; of
// the latter it hears only if the process ignores SIGPIPE, and the Go runtime kills one that does
// not. So do a standard input that is a folder and descriptors that are not open for reading or
// writing. When only part of a line could be written, the fragment stays, is ended by a newline if
// there is room again, and the whole line follows it.
//
// Neither reading nor writing a pipe or terminal can be interrupted. A call that is cancelled
// meanwhile returns at once and leaves one goroutine behind, which ends with the call to the
// system; what it still reads goes to the next instance, too.
package stdio

import (
	"context"
	_ "embed"
	"errors"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// SourceSettings are the settings of the source.
type SourceSettings struct {
	MaxLine bridge.Size `yaml:"max_line"` // longest line allowed, without its newline
}

// Validate checks that max_line allows something.
func (s SourceSettings) Validate() error {
	if s.MaxLine < 1 {
		return &bridge.KeyError{Key: "max_line", Err: errors.New("must be at least 1 byte")}
	}
	return nil
}

// Describe says that there is only one standard input, which nobody can read again.
func (s SourceSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "standard input cannot be read again; buffer: disk keeps what has been read"},
		Exclusive: "standard input",
		Ends:      true,
	}
}

// SinkSettings are the settings of the sink: none.
type SinkSettings struct{}

// Connector returns the connector. It owns the state of standard input and
// output that lives longer than an instance, so a process needs one only.
func Connector() bridge.Connector {
	var in input
	var out output
	return bridge.Connector{
		Name:     "stdio",
		Summary:  "lines of standard input and output",
		Delivery: "standard input cannot be read again",
		Example:  example,
		Source: bridge.NewOpener(SourceSettings{MaxLine: 1 << 20},
			func(_ context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
				return in.open(s, env)
			}),
		Sink: bridge.NewOpener(SinkSettings{},
			func(_ context.Context, _ *SinkSettings, env bridge.Env) (bridge.Sink, error) {
				return out.open(env), nil
			}),
	}
}

// Describe says who has what was written.
func (s SinkSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "handed to the system, for whoever reads it"}}
}
