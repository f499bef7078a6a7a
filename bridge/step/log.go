package step

import (
	"context"
	_ "embed"
	"log/slog"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed log.yaml
var logExample string

// Log returns the connector log, a step that writes what messages say into the bridge's log, now
// and then, and lets them all pass.
//
// # Settings
//
// text is what is logged; in place of the mapping, `log: "{{ topic }}"` sets it. level is that of
// the line. every is the time from one line to the next at least: the line has how many messages
// there were since the last one. max_length bounds the text.
//
// # Guarantees
//
// Messages pass as they are, also those for which there is no text: the line has the reason then.
func Log() bridge.Connector {
	return bridge.Connector{
		Name:     "log",
		Summary:  "writes what messages say into the log, once in a while",
		Delivery: "everything passes",
		Example:  logExample,
		Step:     bridge.NewOpener(logSettings{Level: "info", Every: time.Second, MaxLength: 1 << 10}, openLog),
	}
}

type logSettings struct {
	Text      bridge.Template `yaml:"text,short,required" doc:"what is logged"`
	Level     string          `yaml:"level" enum:"debug|info|warn|error" doc:"of the line"`
	Every     time.Duration   `yaml:"every" doc:"from one line to the next at least; 0: one for each message"`
	MaxLength bridge.Size     `yaml:"max_length" doc:"most bytes of the text"`
}

// Describe says that a message that comes again is the same one.
func (logSettings) Describe() bridge.Description { return repeats() }

// Validate checks the settings.
func (s logSettings) Validate() error {
	if s.MaxLength < 1 {
		return bridge.KeyErrorf("max_length", "must be above 0")
	}
	return nil
}

type logStep struct {
	*logSettings
	to       *slog.Logger
	level    slog.Level
	now      func() time.Time
	next     time.Time
	messages int // since the last line
}

var _ bridge.Step = (*logStep)(nil)

func openLog(_ context.Context, s *logSettings, env bridge.Env) (bridge.Step, error) {
	l := &logStep{logSettings: s, to: env.Logger, now: env.Clock.Now}
	return l, l.level.UnmarshalText([]byte(s.Level))
}

func (l *logStep) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	now := l.now()
	for i := range batch {
		l.messages++
		if !now.Before(l.next) {
			l.line(ctx, &batch[i])
			l.next, l.messages = now.Add(l.Every), 0
		}
		out.Pass(i)
	}
	return nil
}

func (l *logStep) line(ctx context.Context, m *bridge.Message) {
	text, err := l.Text.Render(m)
	if err != nil {
		l.to.Log(ctx, l.level, "message", "messages", l.messages, "err", err)
		return
	}
	if most := int(l.MaxLength); len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	l.to.Log(ctx, l.level, "message", "messages", l.messages, "text", text)
}

func (l *logStep) Close() error { return nil }
