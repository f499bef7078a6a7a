package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

type tapFlags struct {
	runningFlags
	when, sample, record string
	n                    int
	raw                  bool
}

func newTap(s std, folders *pluginFolders) *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap PIPELINE[/PLACE] [FILE...]",
		Short: "Show messages as they pass through a bridge that runs",
		Long: `tap shows the messages of a pipeline as they pass a source, step or sink, and what becomes of them
there; of a step what it got and what it made of it, side by side. It exits with 0 when -n are
shown or it is interrupted, 1 if the bridge ends before, 2 for a name that there is not, and 3 if
no bridge runs.

A PLACE is from, from-2, step, step-2, to, to-2 and so on: the first source of the file, the second
one, the second step, the second entry of to. to_1_2 is the second entry within the first one of to,
to-2-step the first step of the second entry. The log and status name places so, behind the pipeline.
Or it is sources, steps, sinks, buffers or dead_letters. Without one messages are shown everywhere.

A tap never makes a pipeline wait: it misses what it has no room for, and says how many messages
that were. Each place shows at most so many messages as --sample says, and of one the first
64 KiB, also in JSON. A condition is asked of the message before a step and of those behind it.

With --record the messages that its sources read become a test of the pipeline: what it expects is
what the pipeline makes of them.`,
		Example: `  xrtcbridge tap sensors
  xrtcbridge tap sensors/step-2 --when 'json.celsius > 40' -n 5
  xrtcbridge tap sensors/sinks --sample 1/s --json
  xrtcbridge tap sensors --record sensors_test.yaml -n 50`,
		Args: cobra.MinimumNArgs(1),
	}
	f.add(cmd)
	f.printsJSON(cmd)
	cmd.Flags().StringVar(&f.when, "when", "", "show only messages for which this `condition` holds")
	cmd.Flags().IntVarP(&f.n, "count", "n", 0, "end after so many messages; of a recording 20 unless given")
	cmd.Flags().StringVar(&f.sample, "sample", admin.DefaultSample,
		"how many messages each place shows at most: 10/s, 1/m, 1/h or all")
	cmd.Flags().BoolVar(&f.raw, "raw", false,
		"print payloads as they are, each with a line end behind it: of a step those behind it")
	cmd.Flags().StringVar(&f.record, "record", "",
		"write what the sources read into this `file` as a test, or add it to those in it")
	cmd.MarkFlagsMutuallyExclusive("json", "raw", "record")
	f.asks(cmd, s, 1, func(ctx context.Context, c *admin.Client, args []string) error {
		if err := quiet(ctx, c, s, args[0]); err != nil {
			return err
		}
		if f.record != "" {
			return f.recordTest(ctx, c, s, folders, args[0])
		}
		return f.show(ctx, c, s, args[0])
	})
	ask := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.n < 0 {
			return failure{code: exitUsage, err: errors.New("-n: want a number of messages")}
		}
		return ask(cmd, args)
	}
	return cmd
}

// quiet says why nothing passes in a pipeline that does not run.
func quiet(ctx context.Context, c *admin.Client, s std, target string) error {
	st, err := askStatus(ctx, c)
	name, _, _ := strings.Cut(target, "/")
	for _, p := range st.Pipelines {
		if p.Name == name && p.State != monitor.Running && p.State != monitor.Degraded {
			fmt.Fprintf(s.err, "pipeline %s is %s, and nothing passes: %s\n", name, p.State,
				clip(cmp.Or(p.Reason, "xrtcbridge status says more"), mostNote))
		}
	}
	return err
}

// show prints what passes.
func (f *tapFlags) show(ctx context.Context, c *admin.Client, s std, target string) error {
	pipeline, place, _ := strings.Cut(target, "/")
	query := url.Values{"pipeline": {pipeline}, "sample": {f.sample}, "n": {strconv.Itoa(f.n)}}
	if place != "" {
		query.Set("place", place)
	}
	if f.when != "" {
		query.Set("when", f.when)
	}
	width := 100
	if out, is := bare(s.data).(*os.File); is && isTerminal(out) {
		if w, _, err := term.GetSize(int(out.Fd())); err == nil {
			width = w
		}
	}
	lost, err := follow(ctx, c, query, f.n, func(text []byte, t *monitor.Tapped) (err error) {
		switch {
		case f.json:
			_, err = fmt.Fprintf(s.out, "%s\n", text)
		case f.raw:
			err = printRaw(bare(s.data), t)
		default:
			_, err = io.WriteString(s.out, tappedText(t, width))
		}
		return err
	})
	for _, l := range []struct {
		n   uint64
		why string
	}{
		{lost.Missed, "passed too fast to be shown"},
		{lost.Skipped, "left out by --sample " + f.sample},
		{lost.Failed, "without an answer to --when: " + lost.Why},
	} {
		if l.n > 0 {
			fmt.Fprintf(s.err, "%s %s\n", bridge.Plural(l.n, "message"), l.why)
		}
	}
	return err
}

// follow asks for messages, and calls do with each until n have come, it fails, or ctx is done.
func follow(ctx context.Context, c *admin.Client, query url.Values, n int, do func(text []byte, t *monitor.Tapped) error,
) (lost monitor.Lost, err error) {
	answer, err := c.Do(ctx, http.MethodGet, "/tap?"+query.Encode(), nil)
	if err != nil {
		if said, ok := errors.AsType[*admin.Error](err); ok && said.Code == http.StatusBadRequest {
			err = failure{code: exitUsage, err: errors.New(said.Text)}
		}
		if ctx.Err() != nil {
			err = nil
		}
		return lost, err
	}
	defer func() { _ = answer.Body.Close() }()
	said := &io.LimitedReader{R: answer.Body}
	lines := json.NewDecoder(said)
	for seen := 0; n == 0 || seen < n; {
		said.N = admin.MostAnswer
		var text json.RawMessage
		var line admin.TapLine
		if err := lines.Decode(&text); err != nil || json.Unmarshal(text, &line) != nil {
			line.End = "the bridge has ended"
		}
		if line.Lost != nil {
			lost = *line.Lost
		}
		switch {
		case ctx.Err() != nil:
			return lost, nil
		case line.Tapped != nil && line.Place != "":
			seen++
			if err := do(text, line.Tapped); err != nil {
				return lost, err
			}
		case line.End != "" && n > 0:
			return lost, fmt.Errorf("%s after %d of %s", line.End, seen, bridge.Plural(n, "message"))
		case line.End != "":
			return lost, errors.New(line.End)
		}
	}
	return lost, nil
}

// printRaw prints payloads.
func printRaw(w io.Writer, t *monitor.Tapped) error {
	all := t.After
	if t.Kind != "step" && t.Message != nil {
		all = append(all, *t.Message)
	}
	for _, m := range all {
		if _, err := w.Write(append(m.Payload, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// tappedAt is how times are shown.
func tappedAt(t time.Time) string { return t.Local().Format("15:04:05.000") }
