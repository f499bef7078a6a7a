package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// printLedger prints what became of the messages, as a table or, if the log was asked to be JSON, as
// a part of it. It returns an error if the count of one pipeline does not add up.
func (f runFlags) printLedger(w io.Writer, log *slog.Logger, pipelines []*bridge.Pipeline) error {
	if len(pipelines) == 0 {
		return nil
	}
	var err error
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	width := len("PIPELINE")
	for _, p := range pipelines {
		width = max(width, len(p.Name))
	}
	carried, buffered := "", ""
	if hasBuffer(pipelines) {
		carried, buffered = "CARRIED\t", "BUFFERED\t"
	}
	fmt.Fprintf(t, "%-*s\t%sRECEIVED\tDELIVERED\tFILTERED\tDEAD-LETTERED\tDROPPED\t%sIN FLIGHT\t\n", width, "PIPELINE", carried, buffered)
	for _, p := range pipelines {
		l := p.Ledger()
		if f.log.format == "json" {
			log.Info("ledger", "pipeline", p.Name, "carried", l.Carried, "received", l.Received, "delivered", l.Delivered, "filtered", l.Filtered,
				"dead_lettered", l.DeadLettered, "dropped", l.Dropped, "buffered", l.Buffered, "in_flight", l.InFlight)
		}
		if carried != "" {
			carried, buffered = fmt.Sprintf("%d\t", l.Carried), fmt.Sprintf("%d\t", l.Buffered)
		}
		fmt.Fprintf(t, "%-*s\t%s%d\t%d\t%d\t%d\t%d\t%s%d\t\n", width, p.Name, carried, l.Received, l.Delivered, l.Filtered, l.DeadLettered, l.Dropped, buffered, l.InFlight)
		if !l.Balanced() {
			err = errUnbalanced
		}
	}
	if (f.log.quiet || f.log.format == "json") && err == nil {
		return nil
	}
	if ferr := t.Flush(); ferr != nil {
		return fmt.Errorf("print ledger: %w", ferr)
	}
	return err
}

func hasBuffer(pipelines []*bridge.Pipeline) bool {
	return slices.ContainsFunc(pipelines, func(p *bridge.Pipeline) bool { return p.Buffer != nil })
}
