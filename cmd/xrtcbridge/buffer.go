package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func newBuffer(s std) *cobra.Command {
	var f stateFlags
	cmd := &cobra.Command{
		Use:   "buffer",
		Short: "Look into the buffers of pipelines with buffer: disk",
		Long: `buffer shows what the buffer of a pipeline owes to its sinks. It takes nothing out, and works
beside a bridge that runs.`,
	}
	f.add(cmd)
	return group(cmd, newBufferStatus(s, &f), newBufferPeek(s, &f), newBufferVerify(s, &f), newBufferExport(s, &f))
}

func newBufferStatus(s std, f *stateFlags) *cobra.Command {
	return f.printsJSON(f.looks(&cobra.Command{
		Use:   "status [PIPELINE...]",
		Short: "Say what is owed, since when, and how much that is",
	}, s, anyNumber, func(ctx context.Context, state *store.Store, args []string) error {
		names, err := pipelinesWith(ctx, state, "buffer", args)
		if err != nil {
			return err
		}
		l := s.list(f.json, "PIPELINE", "MESSAGES", "ON DISK", "OF", "OLDEST")
		for _, name := range names {
			st, err := state.Status(ctx, name)
			if err != nil {
				return err
			}
			oldest := shortTime(st.Oldest)
			if oldest != "" {
				oldest += " (" + time.Since(st.Oldest).Round(time.Second).String() + " ago)"
			}
			l.row(st, st.Pipeline, st.Messages, approximate(st.Bytes), bridge.Size(st.MaxBytes), oldest)
		}
		return l.end()
	}))
}

// approximate writes a number of bytes with two digits or more.
func approximate(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x := float64(n)
	for len(units) > 1 && x >= 1024 {
		x, units = x/1024, units[1:]
	}
	if n < 1024 || x >= 10 {
		return fmt.Sprintf("%.0f%s", x, units[0])
	}
	return fmt.Sprintf("%.1f%s", x, units[0])
}

func newBufferPeek(s std, f *stateFlags) *cobra.Command {
	var n int
	cmd := f.looks(&cobra.Command{
		Use:   "peek PIPELINE",
		Short: "Print the messages that go next, and leave them where they are",
		Args:  cobra.ExactArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		if n < 0 {
			return failure{code: exitUsage, err: errors.New("-n: want a number of messages")}
		}
		return export(ctx, s, state, args[0], n)
	})
	cmd.Flags().IntVarP(&n, "count", "n", 10, "how many")
	return s.rawFlag(cmd)
}

func newBufferExport(s std, f *stateFlags) *cobra.Command {
	return s.rawFlag(f.looks(&cobra.Command{
		Use:   "export PIPELINE",
		Short: "Print all messages that are owed, one line of JSON each, and leave them where they are",
		Args:  cobra.ExactArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		return export(ctx, s, state, args[0], -1)
	}))
}

// export prints the first n messages, or all if n is negative.
func export(ctx context.Context, s std, state *store.Store, pipeline string, n int) error {
	var failed error
	err := state.Peek(ctx, pipeline, func(m store.Owed) bool {
		if n == 0 || ctx.Err() != nil {
			return false
		}
		n--
		var text []byte
		if text, failed = m.MarshalJSON(); failed == nil {
			_, failed = fmt.Fprintf(s.out, `{"number":%d,"written":%q,%s`+"\n", m.Number,
				m.Written.Format(time.RFC3339Nano), text[1:])
		}
		return failed == nil
	})
	return errors.Join(err, failed, ctx.Err())
}

func newBufferVerify(s std, f *stateFlags) *cobra.Command {
	return f.printsJSON(f.looks(&cobra.Command{
		Use:   "verify PIPELINE",
		Short: "Read the whole buffer and check that every message is there and whole",
		Args:  cobra.ExactArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		v, err := state.Verify(ctx, args[0])
		if err != nil {
			return err
		}
		if f.json {
			err = printJSON(s, v)
		} else {
			_, err = fmt.Fprintf(s.out, "%s whole, %d lost, %s damaged\n",
				bridge.Plural(v.Messages, "message"), v.Lost, bridge.Plural(v.Damaged, "record"))
		}
		if err == nil && v.Lost > 0 {
			err = failure{
				code: exitFailed, err: fmt.Errorf("the buffer of %q has lost %s", args[0], bridge.Plural(v.Lost, "message")),
				hint: "a run goes on behind them and counts them as dropped",
			}
		}
		return err
	}))
}
