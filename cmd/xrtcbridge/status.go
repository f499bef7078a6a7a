package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

func newStatus(s std) *cobra.Command {
	var f runningFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [FILE...]",
		Short: "Say how a bridge that runs does, and why it is not ready",
		Long: `status asks the bridge that runs FILE (default: pipelines.yaml) for each pipeline: its state,
messages in and out a second (of the last 10 seconds), what it owes to its sinks and since when,
what it has dropped and put with the dead letters since the bridge was started (dead list says
what is there now), and how often it was started again; and behind them why it is not well, with
what to do about it. What all counts of --json are, xrtcbridge run --help says.

The exit code is 0 if the bridge is ready: each pipeline that is not optional is connected at
all ends that it needs. It is 1 if it is not, or stops, and 3 if no bridge answers, or one that
runs other files. --json prints what GET /status answers.`,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print all that is known, as JSON on one line")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print it once a second until a signal comes, or the bridge ends")
	return f.asks(cmd, s, 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			st, err := askStatus(ctx, c)
			if err != nil {
				return err
			}
			if watch && isTerminal(s.data) {
				_, _ = io.WriteString(bare(s.data), "\x1b[H\x1b[2J")
			}
			if f.json {
				err = printJSON(s, st)
			} else {
				err = s.printStatus(st)
			}
			if err == nil && watch {
				select {
				case <-second.C:
					continue
				case <-ctx.Done():
				}
			}
			if err == nil && !st.Ready {
				err = failure{code: exitFailed}
			}
			return err
		}
	})
}

// mostWait is how long a bridge may take to say what it knows.
const mostWait = 10 * time.Second

func askStatus(ctx context.Context, c *admin.Client) (st monitor.Status, err error) {
	err = soon(ctx, mostWait, func(ctx context.Context) (err error) {
		st, err = c.Status(ctx)
		return err
	})
	return st, err
}

// alive returns an error if a bridge has a socket and does not answer, for what may take its time
// to be done.
func alive(ctx context.Context, c *admin.Client) error {
	return soon(ctx, mostWait, func(ctx context.Context) error { return c.Ask(ctx, http.MethodGet, "/livez", nil, nil) })
}

// soon asks what a bridge says at once, and takes so long at most.
func soon(ctx context.Context, most time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most,
		fmt.Errorf("no answer within %v: it is stopped, or has too much to do", most))
	defer cancel()
	return ask(ctx)
}

// printStatus prints a status for people.
func (s std) printStatus(st monitor.Status) error {
	ready := "ready"
	switch {
	case st.Draining:
		ready = "stopping"
	case !st.Ready:
		ready = "not ready"
	}
	fmt.Fprintf(s.out, "%s: %s in process %d (%s) for %s\n", ready, bridge.Plural(len(st.Pipelines), "pipeline"), st.PID,
		st.Version,
		since(st.Now, &st.Started))
	if len(st.Pipelines) > 0 {
		l := s.list(false, "PIPELINE", "STATE", "SINCE", "IN/s", "OUT/s", "OWED", "OLDEST", "DROPPED",
			"DEAD-LETTERED", "RESTARTS")
		for _, p := range st.Pipelines {
			l.row(nil, p.Name, p.State, since(st.Now, &p.Since), amount(p.In.Messages), amount(p.Out.Messages), amount(p.Owed),
				since(st.Now, p.Oldest), amount(p.Ledger.Dropped), amount(p.Ledger.DeadLettered), amount(p.Restarts))
		}
		if err := l.end(); err != nil {
			return err
		}
	}
	for _, p := range st.Pipelines {
		note := func(text string) { fmt.Fprintf(s.out, "%s: %s\n", p.Name, clip(text, mostNote)) }
		if p.Reason != "" {
			note(p.Reason)
		}
		if p.Again != nil {
			note(triesAgain(st.Now, p.Again))
		}
		for _, text := range p.Notes {
			note(text)
		}
		for _, e := range p.Errors {
			said := strings.Contains(p.Reason+strings.Join(p.Notes, "\n"), e.Text) ||
				e.Instance == "" && p.Reason != "" && strings.Contains(e.Text, p.Reason)
			if st.Now.Sub(e.At) > recent || said {
				continue
			}
			note(fmt.Sprintf("%s ago, %v", since(st.Now, &e.At), e))
			break // what went before is in --json
		}
		if p.Progress != nil {
			note(progressText(p))
		}
	}
	if r := st.Config.Rejected; r != nil {
		fmt.Fprintf(s.out, "the reload %s ago failed: %s\n", since(st.Now, &r.At), clip(r.Error, mostNote))
	}
	return nil
}

// mostNote is how many characters of a reason are shown.
const mostNote = 500
