package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// logSettings are what a file says of the log; flags say how it looks.
type logSettings struct {
	Summary time.Duration `yaml:"summary" doc:"how often a line for each pipeline says what came in, went out, is owed and was dropped; 0: never"`
}

// Validate checks what no file can mean.
func (s logSettings) Validate() error {
	if s.Summary < 0 {
		return bridge.KeyErrorf("summary", "it is 0, for never, or longer")
	}
	return nil
}

func defaultLog() logSettings { return logSettings{Summary: time.Minute} }

// quietFor is every how many summaries a pipeline is in that has nothing new to say.
const quietFor = 10

// summary tells now and then what pipelines have done since it told that last.
type summary struct {
	log  *slog.Logger
	told map[string]told
}

// told is what was said of a pipeline, or would have been.
type told struct {
	in, out, deadLettered, dropped, owed uint64
	state                                monitor.State
	quiet                                int // how often in a row there was nothing new
}

// run tells until ctx is done.
func (s *summary) run(ctx context.Context, every time.Duration, pipelines func() []monitor.Pipeline) {
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tell(every, pipelines())
		case <-ctx.Done():
			return
		}
	}
}

// tell says what happened since the last call. A pipeline that does nothing and owes nothing says so
// once, and then seldom.
func (s *summary) tell(every time.Duration, pipelines []monitor.Pipeline) {
	before := s.told
	s.told = make(map[string]told, len(pipelines))
	for _, p := range pipelines {
		was, l := before[p.Name], p.Ledger
		is := told{
			in: l.Received + p.Returned.Received, out: l.Delivered, deadLettered: l.DeadLettered, dropped: l.Dropped,
			owed: p.Owed, state: p.State,
		}
		if is.in < was.in || is.out < was.out || is.dropped < was.dropped || is.deadLettered < was.deadLettered {
			was = told{} // reloads have removed it and brought it back since
		}
		if is.owed == 0 && is.in == was.in && is.out == was.out && is.dropped == was.dropped &&
			is.deadLettered == was.deadLettered &&
			is.state == was.state {
			is.quiet = was.quiet + 1
		}
		s.told[p.Name] = is
		if is.quiet > 1 && is.quiet%quietFor > 0 || is.state == monitor.Finished && is.quiet > 0 {
			continue
		}
		attrs := []slog.Attr{
			slog.String("pipeline", p.Name), slog.Uint64("in", is.in-was.in), slog.Uint64("out", is.out-was.out),
			slog.Uint64("owed", is.owed), slog.Uint64("dropped", is.dropped-was.dropped),
		}
		if n := is.deadLettered - was.deadLettered; n > 0 {
			attrs = append(attrs, slog.Uint64("dead_lettered", n))
		}
		if p.State != monitor.Running {
			attrs = append(attrs, slog.String("state", string(p.State)))
			if p.Reason != "" {
				attrs = append(attrs, slog.String("why", p.Reason))
			}
		}
		if is.quiet > 0 {
			attrs = append(attrs, slog.Duration("quiet_for", time.Duration(is.quiet)*every))
		} else {
			attrs = append(attrs, slog.Duration("in_the_last", every))
		}
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "summary", attrs...)
	}
}
