package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
)

func newPipeline(s std) *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "pipeline",
		Short: "Pause, resume or restart a pipeline of a bridge that runs",
	}
	f.add(cmd)
	steer := func(action, done, short, long string) *cobra.Command {
		return f.asks(&cobra.Command{
			Use: action + " NAME [FILE...]", Short: short, Long: long, Args: cobra.MinimumNArgs(1),
		}, s, 1, func(ctx context.Context, c *admin.Client, args []string) error {
			warning, err := steerPipeline(ctx, c, action, args[0])
			if err != nil {
				return err
			}
			if warning != "" {
				fmt.Fprintf(s.err, "warning: %s\n", warning)
			}
			fmt.Fprintf(s.out, "pipeline %s is %s\n", args[0], done)
			return nil
		})
	}
	return group(
		cmd,
		steer("pause", "paused", "Stop a pipeline until it is resumed",
			`pause stops reading and delivers what has been read, as a stop of the bridge would, up to drain_timeout; what is not
delivered by then comes again when the pipeline is resumed, if its source can. All connections of the pipeline are closed.

What a step holds goes at once, what waits in throttle and delay among it, whatever the rate: max_batch and max_held bound
that. A file that is not followed is read from its beginning again when the pipeline is resumed.

Its buffer (buffer: disk) is neither filled nor emptied meanwhile: what is in it stays there, and what a source sends has to
wait at the other system, or is lost there if that does not keep it. A paused pipeline makes the bridge not ready unless it
is optional. It is forgotten with the process: after a restart the pipeline runs.`),
		steer("resume", "starting", "Start a pipeline that is paused", ""),
		steer("restart", "starting", "Stop a pipeline, deliver what it has read, and start it anew",
			`restart closes all connections of a pipeline and opens them anew, also of one that has failed, waits or is paused. Its
settings stay those that the bridge has read; reload is for those that have changed.`),
	)
}

// steerPipeline pauses, resumes or restarts a pipeline. The warning says what went wrong on the way.
func steerPipeline(ctx context.Context, c *admin.Client, action, name string) (warning string, err error) {
	var said struct{ Warning string }
	err = c.Ask(ctx, http.MethodPost, "/pipelines/"+url.PathEscape(name)+"/"+action, nil, &said)
	if answer, ok := errors.AsType[*admin.Error](err); ok && answer.Code == http.StatusNotFound {
		err = failure{code: exitUsage, err: answer}
	}
	return said.Warning, err
}
