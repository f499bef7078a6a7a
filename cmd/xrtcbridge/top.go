package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

func newTop(s std) *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "top [FILE...]",
		Short: "Watch the pipelines of a bridge that runs, and steer them",
		Long: `top shows the pipelines of a bridge that runs on the same machine, those with trouble first:
state, rates, what is owed and since when, what was dropped, and the last error. A pipeline that
is opened shows its ends and steps as a tree, with what has passed them, and its latest errors.
When the bridge ends top says so, and waits for the next. What was dropped and dead-lettered is
counted since it was started; xrtcbridge dead list says which dead letters are there now.

Keys: q quit, enter and esc open and close a pipeline, arrows or j k move, / shows those whose
name or state has some letters, s sorts by state, name, rate, what is owed or what was dropped,
p pauses, r resumes or restarts.

Where standard output is no terminal it prints a table and ends. NO_COLOR is respected: each
state has a sign, too.`,
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		f.files = append(f.files, files...)
		ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
		defer stop()
		places, mistake := f.places(s)
		b := someBridge{&f, places, mistake}
		if mistake != nil {
			c, err := b.dial(ctx)
			if err != nil {
				return err
			}
			c.Close()
		}
		return s.watch(ctx, b)
	}
	return cmd
}

// topBridge is a bridge that runs, perhaps.
type topBridge interface {
	fetch(ctx context.Context) (monitor.Status, error)
	// do pauses, resumes or restarts a pipeline, and returns what there is to say about that.
	do(ctx context.Context, verb, pipeline string) (string, error)
}

// someBridge is the one that answers at the places when it is asked.
type someBridge struct {
	flags   *runningFlags
	places  []admin.Place
	mistake error // of the files
}

func (b someBridge) dial(ctx context.Context) (*admin.Client, error) {
	return b.flags.dialAt(ctx, b.places, b.mistake)
}

func (b someBridge) fetch(ctx context.Context) (s monitor.Status, err error) {
	err = soon(ctx, topPatience, func(ctx context.Context) error {
		c, err := b.dial(ctx)
		if err == nil {
			defer c.Close()
			if s, err = c.Status(ctx); err == nil {
				err = b.flags.runs(c.Place, s)
			}
		}
		return err
	})
	return s, b.flags.refused(err)
}

func (b someBridge) do(ctx context.Context, verb, pipeline string) (string, error) {
	c, err := b.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := b.flags.meant(ctx, c); err != nil {
		return "", err
	}
	warning, err := steerPipeline(ctx, c, verb, pipeline)
	if warning != "" {
		return fmt.Sprintf("%s %s: done, but %s", verb, pipeline, warning), err
	}
	return fmt.Sprintf("%s %s: done", verb, pipeline), err
}

// topPatience is how long top waits for an answer of the bridge.
const topPatience = 5 * time.Second

// watch shows what a bridge does until its user has seen enough: on a terminal; elsewhere it
// prints a table and ends.
func (s std) watch(ctx context.Context, b topBridge) error {
	if !isTerminal(s.data) {
		return s.snapshot(ctx, b)
	}
	t := top{
		ask: func() tea.Msg {
			status, err := b.fetch(ctx)
			return polled{status, err, time.Now()}
		},
		do: func(verb, pipeline string) tea.Cmd {
			return func() tea.Msg { // which takes as long as the pipeline takes to drain
				said, err := b.do(ctx, verb, pipeline)
				return acted{said, err}
			}
		},
	}
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithOutput(bare(s.data))}
	if isTerminal(s.in) { // else keys come from the terminal that the process has
		options = append(options, tea.WithInput(s.in))
	}
	_, err := tea.NewProgram(t, options...).Run()
	if errors.Is(err, context.Canceled) { // by a signal, which is another way to quit
		return nil
	}
	return err
}

// snapshot prints what the list of top shows, for pipes and files.
func (s std) snapshot(ctx context.Context, b topBridge) error {
	status, err := b.fetch(ctx)
	if err != nil {
		return err
	}
	t := top{}.fold(polled{status: status, at: status.Now})
	l := s.list(false, "PIPELINE", "STATE", "IN/s", "OUT/s", "OWED", "OLDEST", "DROPPED", "RESTARTS", "DEAD-LETTERED", "NOTE")
	for _, p := range t.rows() {
		l.row(nil, p.Name, p.State, amount(p.In.Messages), amount(p.Out.Messages), amount(p.Owed),
			since(status.Now, p.Oldest),
			amount(p.Ledger.Dropped), amount(p.Restarts), amount(p.Ledger.DeadLettered), t.note(p))
	}
	return l.end()
}
