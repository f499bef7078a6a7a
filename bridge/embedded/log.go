package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/time/rate"
)

// What the server may say of its clients: whoever reaches a port has it say a line with each wrong
// password.
const (
	clientLines = 100
	clientEvery = time.Second // one more
)

// logger passes what the server says on: warnings and errors as such, the rest
// for debugging. It keeps the first fatal error of the start, since the server
// only reports those and goes on.
type logger struct {
	log   *slog.Logger
	names *strings.Replacer // of folders, from those that the server knows to those that users do

	clients *rate.Limiter // of lines about them

	mu      sync.Mutex // guards what follows
	first   error
	started bool
	untold  int // lines about clients
}

func newLogger(log *slog.Logger, names *strings.Replacer) *logger {
	return &logger{log: log, names: names, clients: rate.NewLimiter(rate.Every(clientEvery), clientLines)}
}

var _ server.Logger = (*logger)(nil)

func (l *logger) say(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) && (!aboutClient.MatchString(format) || l.tell()) {
		l.log.Log(context.Background(), level, "embedded server", "text", l.names.Replace(fmt.Sprintf(format, args...)))
	}
}

// aboutClient is how the server begins what it says of a client.
var aboutClient = regexp.MustCompile(`^\S* - [a-z_]+:\d+ - `)

// tell reports whether there may be one more line about a client, and says how many there were not.
func (l *logger) tell() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.clients.Allow() {
		l.untold++
		return false
	}
	if l.untold > 0 {
		l.log.Warn("more has gone wrong with clients of the embedded server than is said here", "untold", l.untold)
		l.untold = 0
	}
	return true
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

// Errorf logs an error. A client that asks for a newer MQTT is none: many, the bridge among them, ask
// for that first, and for 3.1.1 then.
func (l *logger) Errorf(format string, args ...any) {
	if strings.Contains(format, "unacceptable protocol version of 5") {
		l.say(slog.LevelInfo, format+", which the embedded broker does not speak: a client that cannot fall back "+
			"to MQTT 3.1.1 needs another broker, mosquitto for one", args)
		return
	}
	l.say(slog.LevelError, format, args)
}

func (l *logger) Debugf(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }

func (l *logger) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started && l.first == nil {
		l.first = fatalError(format, args)
		return
	}
	l.log.Error("embedded server", "text", l.names.Replace(fmt.Sprintf(format, args...)))
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
