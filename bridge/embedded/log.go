package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// logger passes what the server says on: warnings and errors as such, the rest
// for debugging. It keeps the first fatal error of the start, since the server
// only reports those and goes on.
type logger struct {
	log   *slog.Logger
	names *strings.Replacer // of folders, from those that the server knows to those that users do

	mu      sync.Mutex // guards what follows
	first   error
	started bool
}

var _ server.Logger = (*logger)(nil)

func (l *logger) say(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "embedded server", "text", l.names.Replace(fmt.Sprintf(format, args...)))
	}
}

// warningLevel returns the level of a warning: what is usual here, or what we have chosen, is none.
func warningLevel(format string) slog.Level {
	for _, usual := range []string{
		"Maximum payloads over", // see NATS.MaxPayload
		"Plaintext passwords detected",
		// After a kill: the newest messages are found by reading the last block.
		"Stream state outdated", "Recovering stream state from index errored",
	} {
		if strings.Contains(format, usual) {
			return slog.LevelDebug
		}
	}
	return slog.LevelWarn
}

func (l *logger) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *logger) Warnf(format string, args ...any)   { l.say(warningLevel(format), format, args) }
func (l *logger) Errorf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }

func (l *logger) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started || l.first != nil {
		l.say(slog.LevelError, format, args)
		return
	}
	l.first = fatalError(format, args)
}

// startError returns the first fatal error of the start. Later ones are logged.
func (l *logger) startError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	return l.first
}

// fatalError prefers the cause over the server's wording, which cannot be unwrapped.
func fatalError(format string, args []any) error {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return fmt.Errorf(format, args...)
}
