package main

import (
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// printLedger prints what became of the messages, as a table or, if the log was asked to be JSON, as
// a part of it. It returns an error if the count of one pipeline does not add up.
func (f runFlags) printLedger(w io.Writer, log *slog.Logger, pipelines []*bridge.Pipeline) error {
	var err error
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	width := len("PIPELINE")
	for _, p := range pipelines {
		width = max(width, len(p.Name))
	}
	fmt.Fprintf(t, "%-*s\t%s\n", width, "PIPELINE", "RECEIVED\tDELIVERED\tFILTERED\tDEAD-LETTERED\tDROPPED\tIN FLIGHT\t")
	for _, p := range pipelines {
		l := p.Ledger()
		if f.log.format == "json" {
			log.Info("ledger", "pipeline", p.Name, "received", l.Received, "delivered", l.Delivered, "filtered", l.Filtered,
				"dead_lettered", l.DeadLettered, "dropped", l.Dropped, "in_flight", l.InFlight)
		}
		fmt.Fprintf(t, "%-*s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", width, p.Name, l.Received, l.Delivered, l.Filtered, l.DeadLettered, l.Dropped, l.InFlight)
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
