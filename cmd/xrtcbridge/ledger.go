package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// column is one of the ledger.
type column struct {
	title string
	means string
	count func(engine.Ledger) uint64
	shown bool // though it is 0 for all pipelines
}

func columns(buffered bool) []column {
	return []column{
		{
			"CARRIED", "in the buffer from earlier runs",
			func(l engine.Ledger) uint64 { return l.Carried }, buffered,
		},
		{
			"RECEIVED", "read from the sources, once more if they deliver once more",
			func(l engine.Ledger) uint64 { return l.Received }, true,
		},
		{
			"MADE", "by steps, beyond one for each message that they got at that time",
			func(l engine.Ledger) uint64 { return l.Made }, false,
		},
		{
			"DELIVERED", "every sink that it was for has it",
			func(l engine.Ledger) uint64 { return l.Delivered }, true,
		},
		{
			"FILTERED", "left out by a step, or meant for no sink",
			func(l engine.Ledger) uint64 { return l.Filtered }, true,
		},
		{
			"MERGED", "kept by a step until what it made of it was delivered",
			func(l engine.Ledger) uint64 { return l.Merged }, false,
		},
		{
			"DEAD-LETTERED", "refused, and put aside",
			func(l engine.Ledger) uint64 { return l.DeadLettered }, true,
		},
		{
			"DROPPED", "given up, by on_error, a stop, or where there is no way to wait",
			func(l engine.Ledger) uint64 { return l.Dropped }, true,
		},
		{
			"BUFFERED", "in the buffer, and delivered later",
			func(l engine.Ledger) uint64 { return l.Buffered }, buffered,
		},
		{
			"IN FLIGHT", "read, and none of these yet: a source that can delivers it again",
			func(l engine.Ledger) uint64 { return l.InFlight }, true,
		},
	}
}

// ledgerHelp says what the columns are, and how they add up.
func ledgerHelp() string {
	var b strings.Builder
	b.WriteString("In the ledger, where columns that are 0 for all pipelines may be left out,\n" +
		"CARRIED + RECEIVED + MADE = DELIVERED + FILTERED + MERGED + DEAD-LETTERED + DROPPED + BUFFERED + IN FLIGHT\n\n")
	for _, c := range columns(true) {
		fmt.Fprintf(&b, "  %-13s  %s\n", c.title, c.means)
	}
	b.WriteString("\nWhat a step keeps for later is merged, and what it lets go of then is made: throttle and delay count\n" +
		"a message that has waited in both columns, and a batch of 5 is 1 that was made, of 5 merged ones.")
	return b.String()
}

// printLedger prints what became of the messages, as a table or, if the log was asked to be JSON,
// as a part of it. unbalanced says that the count of one does not add up.
func (f runFlags) printLedger(w io.Writer, log *slog.Logger, pipelines []monitor.Pipeline, unbalanced bool) {
	if len(pipelines) == 0 {
		return
	}
	width := len("PIPELINE")
	ledgers := make([]engine.Ledger, len(pipelines))
	for i, p := range pipelines {
		width = max(width, len(p.Name))
		l := engine.Ledger(p.Ledger)
		ledgers[i] = l
		if f.log.format == "json" {
			f.logLedger(log, p.Name, l)
		}
	}
	if (f.log.quiet || f.log.format == "json") && !unbalanced {
		return
	}
	shown := slices.DeleteFunc(columns(slices.ContainsFunc(pipelines, hasBuffer)), func(c column) bool {
		return !c.shown && !slices.ContainsFunc(ledgers, func(l engine.Ledger) bool { return c.count(l) > 0 })
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-*s\t", width, "PIPELINE")
	for _, c := range shown {
		fmt.Fprintf(t, "%s\t", c.title)
	}
	for i, p := range pipelines {
		fmt.Fprintf(t, "\n%-*s\t", width, p.Name)
		for _, c := range shown {
			fmt.Fprintf(t, "%d\t", c.count(ledgers[i]))
		}
	}
	fmt.Fprintln(t)
	_ = t.Flush() // that nobody can read it changes nothing of what happened
}

func hasBuffer(p monitor.Pipeline) bool {
	return slices.ContainsFunc(p.Ends, func(e monitor.End) bool { return e.Kind == "buffer" })
}

// logLedger logs what became of the messages of one pipeline.
func (runFlags) logLedger(log *slog.Logger, pipeline string, l engine.Ledger) {
	log.Info("ledger", "pipeline", pipeline, "carried", l.Carried, "received", l.Received, "made", l.Made,
		"delivered", l.Delivered, "filtered", l.Filtered,
		"merged", l.Merged, "dead_lettered", l.DeadLettered, "dropped", l.Dropped, "buffered", l.Buffered,
		"in_flight", l.InFlight)
}
