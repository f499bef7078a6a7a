package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
)

func newReload(s std) *cobra.Command {
	var f runningFlags
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "reload [FILE...]",
		Short: "Make a bridge that runs do what its files say now",
		Long: `reload has a running bridge read its files anew, and prints what starts, stops, restarts and
stays as it is, which parts have changed, and what changes of the guarantees. Pipelines that
have not changed keep their connections. With --dry-run it only prints that.

A part has changed if its value has, or what ${…}, an alias or a connection stands for, a
plugin, or the content of a file that is read at the start: a certificate, credentials, a
schema. The environment is that with which the bridge was started.

Before anything stops, all is checked as check does, and changed pipelines that run are tried as
check --connect does. Then those that change or go stop, up to drain_timeout; what is not
delivered by then comes again, if its source can. If one of the new ones fails for good, or is
not connected after 10s and was before, the old ones are started again. Then, and where the
files have a mistake or what has changed needs a restart (embedded, state, and other keys at the
top), the exit code is 1, the log and status say why, and all goes on as before.`,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would change")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return f.asks(cmd, s, 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		path := "/reload"
		if dry {
			path += "?dry_run=1"
		}
		var d difference
		err := c.Ask(ctx, http.MethodPost, path, struct{}{}, &d)
		if refused, ok := errors.AsType[*admin.Error](err); ok {
			_ = json.Unmarshal(refused.Body, &d) // without one the error says all
		}
		if asJSON && (err == nil || d.Result != "") {
			return errors.Join(err, printJSON(s, d))
		}
		d.write(s.out)
		return err
	})
}
