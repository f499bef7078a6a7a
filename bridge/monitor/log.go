package monitor

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Logger returns a logger for what is to be watched: its warnings and errors that are about a
// pipeline go to the status of that, too, whatever level is logged. What engine and connectors know
// and do not return as an error stands there: a file that is waited for, a message that fails again
// and again, what was dropped.
func (m *Monitor) Logger(log *slog.Logger) *slog.Logger {
	return slog.New(&handler{Handler: log.Handler(), monitor: m})
}

// handler passes on what is logged, and keeps what is a warning.
type handler struct {
	slog.Handler
	monitor *Monitor

	pipeline, connector, dir string
	grouped                  bool
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || h.Handler.Enabled(ctx, l)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.keep(r)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		if !h.grouped {
			next.place(a)
		}
	}
	return &next
}

func (h *handler) WithGroup(name string) slog.Handler {
	next := *h
	next.Handler, next.grouped = h.Handler.WithGroup(name), h.grouped || name != ""
	return &next
}

// place takes what says where it is, and reports whether a did.
func (h *handler) place(a slog.Attr) bool {
	switch a.Key {
	case "pipeline":
		h.pipeline = a.Value.String()
	case "connector":
		h.connector = a.Value.String()
	case "dir":
		h.dir = a.Value.String()
	default:
		return false
	}
	return true
}

// volatile are attributes in which records of the same thing differ.
var volatile = []string{"attempt", "attempts", "wait", "stack", "topic", "first", "last", "seq", "at"}

// keep notes a warning with its pipeline.
func (h *handler) keep(r slog.Record) {
	where, e, err := *h, Error{At: r.Time, N: 1}, ""
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case where.place(a), slices.Contains(volatile, a.Key):
		case a.Key == "err":
			err = a.Value.String()
		case a.Key == "n":
			if n := a.Value.Resolve(); n.Kind() == slog.KindInt64 && n.Int64() > 0 {
				e.N = uint64(n.Int64())
			} else if n.Kind() == slog.KindUint64 {
				e.N = n.Uint64()
			}
		default:
			text.WriteString(" " + a.Key + "=" + a.Value.String())
		}
		return true
	})
	if where.pipeline == "" {
		return
	}
	known, ok := h.monitor.names.Load(where.pipeline)
	if !ok {
		return
	}
	p := known.(*pipeline)
	if where.dir != "" {
		e.Instance = where.pipeline + "-" + where.dir
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != "" {
		if p.told(e.Instance, err) {
			return
		}
		text.WriteString(": " + err)
	}
	if e.Text = text.String(); e.At.IsZero() {
		e.At = time.Now()
	}
	p.note(e)
}

// told reports whether the newest error of an instance, or of any if it is about the pipeline, is
// what err wraps: who returned it has noted it. The lock must be held.
func (p *pipeline) told(instance, err string) bool {
	i := slices.IndexFunc(p.errors, func(e Error) bool { return instance == "" || e.Instance == instance })
	return i >= 0 && strings.HasSuffix(err, p.errors[i].Text) && len(err) < len(p.errors[i].Text)+len(instance)+mostPrefix
}

// mostPrefix is what the engine puts in front of an error at most: the connector and its place.
const mostPrefix = 60
