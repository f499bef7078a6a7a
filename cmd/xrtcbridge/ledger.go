package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// column is one of the ledger.
type column struct {
	title string
	count func(bridge.Ledger) uint64
	shown bool // though it is 0 for all pipelines
}

func columns(buffered bool) []column {
	return []column{
		{"CARRIED", func(l bridge.Ledger) uint64 { return l.Carried }, buffered},
		{"RECEIVED", func(l bridge.Ledger) uint64 { return l.Received }, true},
		{"MADE", func(l bridge.Ledger) uint64 { return l.Made }, false},
		{"DELIVERED", func(l bridge.Ledger) uint64 { return l.Delivered }, true},
		{"FILTERED", func(l bridge.Ledger) uint64 { return l.Filtered }, true},
		{"MERGED", func(l bridge.Ledger) uint64 { return l.Merged }, false},
		{"DEAD-LETTERED", func(l bridge.Ledger) uint64 { return l.DeadLettered }, true},
		{"DROPPED", func(l bridge.Ledger) uint64 { return l.Dropped }, true},
		{"BUFFERED", func(l bridge.Ledger) uint64 { return l.Buffered }, buffered},
		{"IN FLIGHT", func(l bridge.Ledger) uint64 { return l.InFlight }, true},
	}
}

// printLedger prints what became of the messages, as a table or, if the log was asked to be JSON,
// as a part of it. It returns an error if the count of one pipeline does not add up.
func (f runFlags) printLedger(w io.Writer, log *slog.Logger, pipelines []*bridge.Pipeline) error {
	if len(pipelines) == 0 {
		return nil
	}
	var err error
	width := len("PIPELINE")
	ledgers := make([]bridge.Ledger, len(pipelines))
	for i, p := range pipelines {
		width = max(width, len(p.Name))
		l := p.Ledger()
		ledgers[i] = l
		if f.log.format == "json" {
			log.Info("ledger", "pipeline", p.Name, "carried", l.Carried, "received", l.Received, "made", l.Made, "delivered", l.Delivered, "filtered", l.Filtered,
				"merged", l.Merged, "dead_lettered", l.DeadLettered, "dropped", l.Dropped, "buffered", l.Buffered, "in_flight", l.InFlight)
		}
		if !l.Balanced() {
			err = errUnbalanced
		}
	}
	if (f.log.quiet || f.log.format == "json") && err == nil {
		return nil
	}
	shown := slices.DeleteFunc(columns(hasBuffer(pipelines)), func(c column) bool {
		return !c.shown && !slices.ContainsFunc(ledgers, func(l bridge.Ledger) bool { return c.count(l) > 0 })
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
	if ferr := t.Flush(); ferr != nil {
		return fmt.Errorf("print ledger: %w", ferr)
	}
	return err
}

func hasBuffer(pipelines []*bridge.Pipeline) bool {
	return slices.ContainsFunc(pipelines, func(p *bridge.Pipeline) bool { return p.Buffer != nil })
}
