// Package stdio provides the connector for the standard input and output of the process: one line
// is one message.
//
// # Settings
//
// The source has codec, which says what a message is, see [framing.Codec]: lines if nothing is set.
// What the columns of csv are called is known to later instances, too. It has max_line, the longest
// line or other message allowed, and long_lines: truncate delivers as much of a longer one, and
// refuse, the default, refuses it. The sink has payload, a template of what is written, and encode:
// what becomes of one with line feeds, see Errors.
//
// A message is a line without its newline, the carriage return before that, and a byte order mark
// at the beginning. All other bytes pass unchanged, and what stands after the last newline is a
// message. The sink writes payload and newline, or only the payload if that ends with one. Several
// pipelines may write to standard output, and their lines do not mix; only one can read standard
// input.
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
// behind it, or, of csv, json and multiline, behind the line in which it became too long. A row or
// value that cannot be read is refused with its number and column; a row of names that is none
// stops the pipeline.
//
// A payload that would become several lines is refused, unless encode says otherwise: json and
// base64 make one line of each payload, and raw lets it be several.
//
// A standard output that is full, or whose reader has gone away, stops the pipeline; of the latter
// it hears only if the process ignores SIGPIPE, and the Go runtime kills one that does not. So do a
// standard input that is a folder and descriptors that are not open for reading or writing. When
// only part of a line could be written, the fragment stays, is ended by a newline if there is room
// again, and the whole line follows it.
//
// Neither reading nor writing a pipe or terminal can be interrupted. A call that is cancelled
// meanwhile returns at once and leaves one goroutine behind, which ends with the call to the
// system. What comes on standard input after that stays in the pipe; where the system cannot tell
// whether there is something (not on Unix), one read takes it, for the next instance.
package stdio

import (
	"context"
	_ "embed"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

//go:embed example.yaml
var example string

// SourceSettings are the settings of the source.
type SourceSettings struct {
	Codec     framing.Codec `yaml:"codec" doc:"what a message is, of the bytes that are read"`
	MaxLine   bridge.Size   `yaml:"max_line" doc:"longest message allowed, without its newline"`
	LongLines string        `yaml:"long_lines" enum:"refuse|truncate" doc:"refuse a line above max_line, or cut it and deliver its beginning"`
}

// Validate checks that max_line allows something.
func (s SourceSettings) Validate() error {
	if s.MaxLine < 1 {
		return bridge.KeyErrorf("max_line", "must be at least 1 byte")
	}
	if k := s.Codec.Kind; s.LongLines == "truncate" && (k == "csv" || k == "json") {
		return bridge.KeyErrorf("long_lines", "of codec: %s nothing can be cut off", k)
	}
	return nil
}

// Describe says that there is only one standard input, which nobody can read again.
func (s SourceSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "standard input cannot be read again; buffer: disk keeps what has been read",
		},
		Exclusive: "standard input",
		Ends:      true,
	}
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	framing.Form `yaml:",inline"`
}

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
		Source: bridge.NewOpener(SourceSettings{Codec: framing.DefaultCodec(), MaxLine: 1 << 20, LongLines: "refuse"},
			func(_ context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
				return in.open(s, env)
			}),
		Sink: bridge.NewOpener(SinkSettings{framing.Form{Encode: "text"}},
			func(_ context.Context, s *SinkSettings, env bridge.Env) (bridge.Sink, error) {
				return out.open(s.Form, env), nil
			}),
	}
}

// Describe says who has what was written.
func (s SinkSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why:   "handed to the system, for whoever reads it",
	}}
}
