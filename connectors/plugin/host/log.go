package host

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/time/rate"
)

// What a plugin may put into the log.
const (
	maxLine    = 16 << 10 // bytes; the rest of a line is cut off
	maxValue   = 4 << 10  // bytes of a text in it
	maxAttrs   = 16
	linesASec  = 200
	burstLines = 400
	lastLines  = 5 // kept, to explain a crash
)

// lineLog takes the lines that a plugin writes into the log, with the plugin's name, cleaned and at a bounded rate.
type lineLog struct {
	log   *slog.Logger
	allow *rate.Limiter

	mu         sync.Mutex // guards the rest
	suppressed int
	last       []string
}

func newLineLog(log *slog.Logger) *lineLog {
	return &lineLog{log: log, allow: rate.NewLimiter(linesASec, burstLines)}
}

// copy reads lines until the end.
func (l *lineLog) copy(from string, r io.Reader) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		text := string(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			l.line(from, text)
		}
		if err != nil {
			return
		}
	}
}

func (l *lineLog) line(from, text string) {
	if !l.allow.Allow() {
		l.mu.Lock()
		l.suppressed++
		l.mu.Unlock()
		return
	}
	l.mu.Lock()
	suppressed := l.suppressed
	l.suppressed = 0
	l.mu.Unlock()
	if suppressed > 0 {
		l.log.Warn("the plugin logs too much", "suppressed", suppressed)
	}
	level, message, attrs := parse(text)
	if level == nil {
		l.keep(message)
		l.log.Info(message, "from", from) //nolint:sloglint // the plugin's own words
		return
	}
	if *level >= slog.LevelError {
		l.keep(message)
	}
	l.log.LogAttrs(context.Background(), *level, message, attrs...) //nolint:sloglint // the plugin's own words
}

// keep remembers a line that may explain why the process ended.
func (l *lineLog) keep(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) > 0 && isPanic(l.last[0]) {
		return // its first line tells most
	}
	if isPanic(line) {
		l.last = nil
	}
	if len(l.last) == lastLines {
		l.last = slices.Delete(l.last, 0, 1)
	}
	l.last = append(l.last, line)
}

func isPanic(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// flush tells how many lines were suppressed at last, and returns those that may explain the end.
func (l *lineLog) flush() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.suppressed > 0 {
		l.log.Warn("the plugin logs too much", "suppressed", l.suppressed)
		l.suppressed = 0
	}
	text := strings.Join(l.last, " / ")
	l.last = nil
	return clean(text, 300)
}

// parse takes a line of slog's JSON apart. level is nil for other lines.
func parse(line string) (level *slog.Level, message string, attrs []slog.Attr) {
	var record map[string]any
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &record) != nil {
		return nil, clean(line, maxValue), nil
	}
	message, _ = record["msg"].(string)
	text, _ := record["level"].(string)
	at := slog.LevelInfo
	_ = at.UnmarshalText([]byte(text)) // an unknown one is Info
	at = min(max(at, slog.LevelDebug), slog.LevelError)
	names := make([]string, 0, len(record))
	for name := range record {
		switch name {
		case "time", "level", "msg", "plugin":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names[:min(len(names), maxAttrs)] {
		attrs = append(attrs, slog.Any(clean(name, 40), cleanValue(record[name])))
	}
	return &at, clean(message, maxValue), attrs
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return clean(v, maxValue)
	case bool, float64, nil:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return clean(string(text), maxValue)
}

// clean makes one line of at most that many bytes of a text, without control characters.
func clean(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	text = strings.ToValidUTF8(text, "�")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
