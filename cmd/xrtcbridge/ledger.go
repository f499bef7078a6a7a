package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// printLedger prints what became of the messages. It returns an error if the
// count of one pipeline does not add up.
func (f runFlags) printLedger(w io.Writer, pipelines []*bridge.Pipeline) error {
	var err error
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	width := len("PIPELINE")
	for _, p := range pipelines {
		width = max(width, len(p.Name))
	}
	fmt.Fprintf(t, "%-*s\t%s\n", width, "PIPELINE", "RECEIVED\tDELIVERED\tFILTERED\tDEAD-LETTERED\tDROPPED\tIN FLIGHT\t")
	for _, p := range pipelines {
		l := p.Ledger()
		fmt.Fprintf(t, "%-*s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", width, p.Name, l.Received, l.Delivered, l.Filtered, l.DeadLettered, l.Dropped, l.InFlight)
		if !l.Balanced() {
			err = errUnbalanced
		}
	}
	if f.log.quiet && err == nil {
		return nil
	}
	if ferr := t.Flush(); ferr != nil {
		return fmt.Errorf("print ledger: %w", ferr)
	}
	return err
}
