package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// stateFlags say which state a command looks into.
type stateFlags struct {
	files []string
	dir   string
	json  bool
}

func (f *stateFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringArrayVar(&f.files, "config", nil, "pipeline file that says where the state is; repeatable (default: "+defaultFile+", if it is there)")
	cmd.PersistentFlags().StringVar(&f.dir, "state", "", "folder of the state, instead of what a file says")
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
}

// with calls do with the state and a context that a signal ends.
func (f *stateFlags) with(cmd *cobra.Command, s std, do func(context.Context, *store.Store) error) error {
	set, err := f.settings()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	state := store.Look(set, s.warnings())
	err = errors.Join(do(ctx, state), state.Close())
	switch {
	case err == nil || errors.As(err, new(failure)):
		return err
	case errors.Is(err, store.ErrInUse):
		return failure{code: exitFailed, err: err, hint: "stop the bridge first"}
	case errors.Is(err, store.ErrNoBuffer):
		return failure{code: exitFailed, err: err, hint: "xrtcbridge state list shows what the state has; a pipeline has a buffer with buffer: disk once it has run"}
	}
	return failure{code: exitFailed, err: err}
}

// settings returns what the files say of the state.
func (f *stateFlags) settings() (store.Settings, error) {
	if f.dir != "" {
		return store.Settings{Dir: f.dir}, nil
	}
	files := f.files
	if len(files) == 0 {
		if _, err := os.Stat(defaultFile); errors.Is(err, os.ErrNotExist) {
			return store.Settings{}, nil
		}
		files = []string{defaultFile}
	}
	var set store.Settings
	l := config.Loader{Registry: builtin(), Sections: map[string]any{"state": &set}}
	if err := l.LoadSections(files...); err != nil {
		return set, failure{code: exitUsage, err: err}
	}
	return set, nil
}

func newState(s std) *cobra.Command {
	var f stateFlags
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at what a bridge remembers, and make it forget",
		Long: `state shows what is kept beyond the life of the process: how far sources have come, and what is in buffers and
dead letters. list and show work beside a bridge that runs.`,
	}
	f.add(cmd)
	return group(cmd, newStateList(s, &f), newStateShow(s, &f), newStateReset(s, &f))
}

func newStateList(s std, f *stateFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List checkpoints, buffers and dead letters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				all, err := state.Entries(ctx, "")
				if err != nil {
					return err
				}
				return printEntries(s, f.json, all)
			})
		},
	}
}

func printEntries(s std, asJSON bool, all []store.Entry) error {
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PIPELINE\tWHAT\tOF\tSIZE\tSINCE")
	for _, e := range all {
		if asJSON {
			if err := printJSON(s, e); err != nil {
				return err
			}
			continue
		}
		size := fmt.Sprintf("%d messages", e.Size)
		if e.Kind == "checkpoint" {
			size = fmt.Sprintf("%d bytes", e.Size)
		}
		if e.Damaged {
			size = "damaged"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Pipeline, e.Kind, e.Instance, size, shortTime(e.Saved))
	}
	if asJSON {
		return nil
	}
	return t.Flush()
}

func newStateShow(s std, f *stateFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show PIPELINE",
		Short: "Print the checkpoints of a pipeline",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				all, err := state.Entries(ctx, args[0])
				if err != nil {
					return err
				}
				if len(all) == 0 {
					return failure{code: exitFailed, err: fmt.Errorf("the state has nothing of pipeline %q", args[0]), hint: "xrtcbridge state list shows what it has"}
				}
				if err := printEntries(s, f.json, all); err != nil {
					return err
				}
				for _, e := range all {
					if e.Kind != "checkpoint" || f.json {
						continue
					}
					text := fmt.Sprintf("%q", e.Data)
					if json.Valid(e.Data) {
						text = string(e.Data)
					}
					fmt.Fprintf(s.out, "\n%s:\n%s\n", e.Instance, text)
				}
				return nil
			})
		},
	}
}

func newStateReset(s std, f *stateFlags) *cobra.Command {
	var buffer bool
	cmd := &cobra.Command{
		Use:   "reset PIPELINE",
		Short: "Forget how far the sources of a pipeline have come, so that they begin anew",
		Long: `reset forgets the checkpoints of a pipeline: its sources begin anew, as their settings say. With --buffer what the
buffer holds is forgotten, too, and never delivered. No bridge may be running.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				checkpoints, messages, err := state.Reset(ctx, args[0], buffer)
				if err != nil {
					return err
				}
				fmt.Fprintf(s.out, "forgot %d checkpoints", checkpoints)
				if buffer {
					fmt.Fprintf(s.out, " and %d messages", messages)
				}
				fmt.Fprintln(s.out)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&buffer, "buffer", false, "forget the messages in the buffer, too")
	return cmd
}

func printJSON(s std, v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// startServers starts the embedded servers for a command that does what run does, unless a bridge
// that runs has them.
func startServers(ctx context.Context, s std, state *store.Store, set embedded.Settings) (func() error, error) {
	if used, err := state.InUse(ctx); err != nil || used {
		return func() error { return nil }, err
	}
	if set.NATS != nil {
		visited := *set.NATS
		visited.Visitor = true
		set.NATS = &visited
	}
	server, err := embedded.Start(ctx, set, s.warnings())
	if err != nil {
		return nil, err
	}
	return server.Close, nil
}
