package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
		Long: `dead is about messages that a source, a step or a sink refused, where on_error: {then:
dead_letter} holds and names no sink for them. It works beside a bridge that runs.`,
	}
	f.add(cmd)
	return group(cmd, newDeadList(s, &f), newDeadShow(s, &f), newDeadReplay(s, &f, folders), newDeadPurge(s, &f))
}

func newDeadList(s std, f *stateFlags) *cobra.Command {
	var only store.Choice
	cmd := f.printsJSON(f.looks(&cobra.Command{
		Use:   "list [PIPELINE...]",
		Short: "List the dead letters of pipelines, or of all, oldest first",
	}, s, anyNumber, func(ctx context.Context, state *store.Store, args []string) error {
		names, err := pipelinesWith(ctx, state, "dead letters", args)
		if err != nil {
			return err
		}
		list := s.list(f.json, "PIPELINE", "NUMBER", "LAST TRY", "TRIES", "REFUSED BY", "TOPIC", "REASON")
		n := 0
		for _, name := range names {
			err = errors.Join(err, state.Letters(ctx, name, func(l store.Letter) bool {
				if !only.Has(&l) {
					return ctx.Err() == nil
				}
				n++
				reason := clip(l.Reason, 100)
				if l.Incomplete {
					reason = "not whole: " + reason
				}
				return list.row(l, name, l.Number, shortTime(l.Last), l.Attempts, l.Place+" "+l.Instance,
					shown(l.Topic, 40), reason) &&
					ctx.Err() == nil
			}))
		}
		switch {
		case n > 0:
			err = errors.Join(err, list.end())
		case err == nil && only.Reason != "":
			fmt.Fprintf(s.err, "no dead letter has a reason with %q\n", only.Reason)
		case err == nil && len(args) == 0:
			fmt.Fprintln(s.err, "the state has no dead letters")
		case err == nil:
			fmt.Fprintf(s.err, "the state has no dead letters of a pipeline %q\n", strings.Join(args, ", "))
		}
		return errors.Join(err, ctx.Err())
	}))
	reasonFlag(cmd, &only)
	return cmd
}

// reasonFlag adds the flag that chooses dead letters by why they were refused.
func reasonFlag(cmd *cobra.Command, only *store.Choice) {
	cmd.Flags().StringVar(&only.Reason, "reason", "", "only those whose reason has this `text`")
}

// pipelinesWith returns the named pipelines, or, without any, those of which the state has
// something of a kind.
func pipelinesWith(ctx context.Context, state *store.Store, kind string, named []string) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	all, err := state.Entries(ctx, "")
	for _, e := range all {
		if e.Kind == kind {
			named = append(named, e.Pipeline)
		}
	}
	return named, err
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
	strange := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	switch {
	case len(text) > most:
		return strconv.Quote(text[:most]) + "…"
	case strings.ContainsFunc(text, strange):
		return strconv.Quote(text)
	}
	return text
}

func newDeadShow(s std, f *stateFlags) *cobra.Command {
	var only store.Choice
	cmd := s.rawFlag(f.looks(&cobra.Command{
		Use:   "show PIPELINE [NUMBER...]",
		Short: "Print dead letters, one line of JSON each",
		Long: `show prints the dead letters with these numbers, or with a --reason, and all that they have of
their message. One with "incomplete": true has a part of it only, since the source could not hand it on whole.`,
		Args: cobra.MinimumNArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) (err error) {
		if only.Numbers, err = f.letterNumbers(args[1:]); err != nil {
			return err
		}
		if len(only.Numbers) == 0 && only.Reason == "" {
			return f.unchosen("name numbers, or --reason TEXT")
		}
		found := 0
		var failed error
		err = state.Letters(ctx, args[0], func(l store.Letter) bool {
			if only.Has(&l) {
				found++
				failed = printJSON(s, l)
			}
			return failed == nil && ctx.Err() == nil && (len(only.Numbers) == 0 || found < len(only.Numbers))
		})
		if err = errors.Join(err, failed, ctx.Err()); err != nil {
			return err
		}
		return allThere(args[0], found, only)
	}))
	reasonFlag(cmd, &only)
	return cmd
}

// unchosen is about a command that must know which dead letters are meant.
func (f *stateFlags) unchosen(what string) error {
	return failure{
		code: exitUsage, err: errors.New(what),
		hint: f.command("dead list") + " shows the numbers",
	}
}

// allThere returns an error if fewer dead letters were found than were named, or none that was
// meant.
func allThere(pipeline string, found int, only store.Choice) error {
	switch named := len(only.Numbers); {
	case only.Reason != "" && found == 0:
		return fmt.Errorf("pipeline %q has no such dead letter with %q in its reason", pipeline, only.Reason)
	case only.Reason == "" && found < named:
		return fmt.Errorf("pipeline %q has %d of %s", pipeline, found, bridge.Plural(named, "dead letter"))
	}
	return nil
}

func newDeadPurge(s std, f *stateFlags) *cobra.Command {
	var every bool
	var only store.Choice
	cmd := f.looks(&cobra.Command{
		Use:   "purge PIPELINE [NUMBER...]",
		Short: "Throw dead letters away",
		Long: `purge throws the dead letters with these numbers away, those with a --reason, which is of these
numbers if there are any, or, with --all, all of the pipeline.`,
		Args: cobra.MinimumNArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		numbers, err := f.letterNumbers(args[1:])
		if err != nil {
			return err
		}
		if every == (len(numbers) > 0 || only.Reason != "") {
			return f.unchosen("name numbers, --reason TEXT, or --all")
		}
		if only.Reason != "" {
			only.Numbers, numbers = numbers, nil
			err := state.Letters(ctx, args[0], func(l store.Letter) bool {
				if only.Has(&l) {
					numbers = append(numbers, l.Number)
				}
				return ctx.Err() == nil
			})
			if err = errors.Join(err, ctx.Err(), allThere(args[0], len(numbers), only)); err != nil {
				return err
			}
		}
		n, err := state.Purge(ctx, args[0], numbers...)
		if err == nil || n > 0 {
			fmt.Fprintf(s.out, "threw %s away\n", bridge.Plural(n, "dead letter"))
		}
		return err
	})
	reasonFlag(cmd, &only)
	cmd.Flags().BoolVar(&every, "all", false, "all of the pipeline")
	return cmd
}

func (f *stateFlags) letterNumbers(args []string) ([]uint64, error) {
	var numbers []uint64
	for _, a := range args {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			return nil, failure{
				code: exitUsage, err: fmt.Errorf("%q is not the number of a dead letter", a),
				hint: f.command("dead list") + " shows the numbers",
			}
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

func newDeadReplay(s std, f *stateFlags, folders *pluginFolders) *cobra.Command {
	var r replaying
	var set []string
	cmd := f.looks(&cobra.Command{
		Use:   "replay PIPELINE [NUMBER...]",
		Short: "Deliver dead letters again, each from the place that refused it",
		Long: `replay takes the messages of the dead letters, as they were, from the source, step or sink that
refused them through the rest of the pipeline, as its file says now. What is delivered is no
dead letter any more; what fails again is kept as a new one, with a new number and all its
attempts. Letters that are not whole, such as the beginning of a line above max_line, are kept,
too.

--set changes the messages before that, as a step set does: topic, payload, time, header.NAME or
json.FIELD, to a value that is JSON or else a text, with {{ }} as in a file. One that cannot be
changed so stays as it is.`,
		Example: `  xrtcbridge dead replay sensors --reason "no unit" --set header.unit=C --set 'json.room={{ segment(topic, 1) }}'`,
		Args:    cobra.MinimumNArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) (err error) {
		if r.Numbers, err = f.letterNumbers(args[1:]); err != nil {
			return err
		}
		if err = state.Ours(); err != nil {
			return err
		}
		k := folders.catalog(s.warnings())
		defer k.close()
		c, err := k.load(ctx, f.files)
		if err != nil {
			return err
		}
		if r.Pipeline = c.pipeline(args[0]); r.Pipeline == nil {
			return unknown("pipeline", args[0], f.pipelines, "its file, the argument FILE, says where its messages go")
		}
		if r.edit, err = newEditor(ctx, k.loader(ctx), set, s.warnings()); err != nil {
			return err
		}
		stop, err := startServers(ctx, s, state, c)
		if err != nil {
			return err
		}
		r.std, r.log, r.state, r.flags = s, s.warnings(), state, f
		return errors.Join(r.run(ctx), stop())
	})
	folders.add(cmd)
	reasonFlag(cmd, &r.Choice)
	cmd.Flags().StringArrayVar(&set, "set", nil, "change messages before, `KEY=VALUE` as in a step set; repeatable")
	cmd.Flags().BoolVar(&r.incomplete, "incomplete", false, "deliver what there is of messages that are not whole, too")
	return cmd
}
