package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func newDead(s std, folders *pluginFolders) *cobra.Command {
	var f stateFlags
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at dead letters, deliver them again, or throw them away",
		Long: `dead is about messages that a source, a step or a sink refused, where on_error: {then: dead_letter} holds and names no
sink for them. It works beside a bridge that runs.`,
	}
	f.add(cmd)
	return group(cmd, newDeadList(s, &f), newDeadShow(s, &f), newDeadReplay(s, &f, folders), newDeadPurge(s, &f))
}

func newDeadList(s std, f *stateFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list PIPELINE",
		Short: "List the dead letters of a pipeline, oldest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "NUMBER\tLAST TRY\tTRIES\tREFUSED BY\tTOPIC\tREASON")
				var failed error
				n := 0
				err := state.Letters(ctx, args[0], func(l store.Letter) bool {
					n++
					if f.json {
						failed = printJSON(s, l)
					} else {
						fmt.Fprintf(t, "%d\t%s\t%d\t%s %s\t%s\t%s\n", l.Number, shortTime(l.Last), l.Attempts, l.Place, l.Instance, shown(l.Topic, 40), clip(l.Reason, 100))
					}
					return failed == nil && ctx.Err() == nil
				})
				if n == 0 && err == nil {
					fmt.Fprintf(s.err, "the state has no dead letters of a pipeline %q\n", args[0])
				}
				if f.json || n == 0 {
					return errors.Join(err, failed, ctx.Err())
				}
				return errors.Join(err, t.Flush(), ctx.Err())
			})
		},
	}
}

// clip shortens a text for a table, and makes it one line.
func clip(text string, most int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}

// shown returns a text as it is if it is short and can be printed, else in quotes, shortened.
func shown(text string, most int) string {
	if len(text) <= most && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return text
	}
	if len(text) > most {
		return strconv.Quote(text[:most]) + "…"
	}
	return strconv.Quote(text)
}

func newDeadShow(s std, f *stateFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show PIPELINE NUMBER...",
		Short: "Print dead letters whole",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := letterNumbers(args[1:])
			if err != nil {
				return err
			}
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				found := 0
				var failed error
				err := state.Letters(ctx, args[0], func(l store.Letter) bool {
					if slices.Contains(numbers, l.Number) {
						found++
						failed = printJSON(s, l)
					}
					return failed == nil && found < len(numbers)
				})
				if err == nil && failed == nil && found < len(numbers) {
					err = failure{code: exitFailed, err: fmt.Errorf("pipeline %q has %d of these %d dead letters", args[0], found, len(numbers))}
				}
				return errors.Join(err, failed)
			})
		},
	}
}

func newDeadPurge(s std, f *stateFlags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "purge PIPELINE NUMBER...",
		Short: "Throw dead letters away",
		Long:  `purge throws the dead letters with these numbers away, or, with --all, all of the pipeline.`,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := letterNumbers(args[1:])
			if err != nil {
				return err
			}
			if all == (len(numbers) > 0) {
				return failure{code: exitUsage, err: errors.New("name numbers, or --all"), hint: "xrtcbridge dead list shows the numbers"}
			}
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				n, err := state.Purge(ctx, args[0], numbers...)
				if err == nil || n > 0 {
					fmt.Fprintf(s.out, "threw %d dead letters away\n", n)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of the pipeline")
	return cmd
}

func letterNumbers(args []string) ([]uint64, error) {
	var numbers []uint64
	for _, a := range args {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			return nil, failure{code: exitUsage, err: fmt.Errorf("%q is not the number of a dead letter", a), hint: "xrtcbridge dead list shows the numbers"}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

func newDeadReplay(s std, f *stateFlags, folders *pluginFolders) *cobra.Command {
	return &cobra.Command{
		Use:   "replay PIPELINE [NUMBER...]",
		Short: "Deliver dead letters again, each from the place that refused it",
		Long: `replay takes the messages of the dead letters, as they were, from the source, step or sink that refused them through the rest of the pipeline,
as its file says now. What is delivered is no dead letter any more; what fails again is kept as a new one, with all its attempts.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := letterNumbers(args[1:])
			if err != nil {
				return err
			}
			k, err := folders.catalog(s.warnings())
			if err != nil {
				return err
			}
			defer k.close()
			c, err := k.load(f.files)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(c.Pipelines, func(p *bridge.Pipeline) bool { return p.Name == args[0] })
			if at < 0 {
				return failure{code: exitUsage, err: fmt.Errorf("there is no pipeline %q in the file", args[0])}
			}
			return f.with(cmd, s, func(ctx context.Context, state *store.Store) error {
				stop, err := startServers(ctx, s, state, c.servers)
				if err != nil {
					return err
				}
				err = replay(ctx, s, state, c.Pipelines[at], numbers)
				return errors.Join(err, stop())
			})
		},
	}
}
