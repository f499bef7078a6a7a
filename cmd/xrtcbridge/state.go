package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func newState(s std, folders *pluginFolders) *cobra.Command {
	var f stateFlags
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at what a bridge remembers, and make it forget",
		Long: `state shows what is kept beyond the life of the process: how far sources have come, and what is
in buffers and dead letters. list and show work beside a bridge that runs.

The folder must be the bridge's own. On a volume that others share, as in Kubernetes with
fsGroup or on one whose file system has no owners (CIFS, vfat, NFS with root_squash, /mnt/c of
WSL), state: {shared: true} in the file, or --shared, allows that.`,
	}
	f.add(cmd)
	return group(cmd, newStateList(s, &f), newStateShow(s, &f), newStateReset(s, &f, folders), newStateRename(s, &f))
}

func newStateList(s std, f *stateFlags) *cobra.Command {
	return f.printsJSON(f.looks(&cobra.Command{
		Use:   "list",
		Short: "List checkpoints, buffers and dead letters",
		Args: func(cmd *cobra.Command, names []string) error {
			for _, name := range names {
				if err := meantFile(name); err != nil {
					return err
				}
			}
			return cobra.NoArgs(cmd, names)
		},
	}, s, 0, func(ctx context.Context, state *store.Store, _ []string) error {
		all, err := state.Entries(ctx, "")
		if err != nil {
			return err
		}
		return printEntries(s, f.json, all)
	}))
}

func printEntries(s std, asJSON bool, all []store.Entry) error {
	l := s.list(asJSON, "PIPELINE", "WHAT", "OF", "SIZE", "SINCE")
	for _, e := range all {
		size := bridge.Plural(e.Size, "message")
		if e.Kind == "checkpoint" {
			size = bridge.Plural(e.Size, "byte")
		}
		if e.Damaged {
			size = "damaged"
		}
		l.row(e, e.Pipeline, e.Kind, e.Instance, size, shortTime(e.Saved))
	}
	return l.end()
}

func newStateShow(s std, f *stateFlags) *cobra.Command {
	return f.printsJSON(f.looks(&cobra.Command{
		Use:   "show PIPELINE",
		Short: "Print the checkpoints of a pipeline",
		Args:  cobra.ExactArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		all, err := state.Entries(ctx, args[0])
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return failure{
				code: exitFailed, err: fmt.Errorf("the state has nothing of pipeline %q", args[0]),
				hint: f.command("state list") + " shows what it has",
			}
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
	}))
}

func newStateReset(s std, f *stateFlags, folders *pluginFolders) *cobra.Command {
	var r resetting
	var local bool
	cmd := f.looks(&cobra.Command{
		Use:   "reset PIPELINE",
		Short: "Forget how far the sources of a pipeline have come, so that they begin anew",
		Long: `reset forgets the checkpoints of a pipeline: its sources begin anew, as their settings say. What
other systems keep for them, like a durable consumer of JetStream or a persistent session of an
MQTT broker, is ended, if the pipeline is in the files; --local leaves that. With
--buffer what the buffer holds is forgotten, too, and never delivered. No bridge may be running.

With --sessions only what other systems keep is ended, and a bridge may run, if that pipeline is none
of its. Of one that has gone from the files, or has another name there, --as names a pipeline
that reads the same systems, by the same settings.`,
		Example: `  xrtcbridge state reset sensors
  xrtcbridge state reset old-name --sessions --as new-name`,
		Args: cobra.ExactArgs(1),
	}, s, 0, func(ctx context.Context, state *store.Store, args []string) (err error) {
		r.std, r.state, r.pipeline = s, state, args[0]
		if err := f.known(ctx, state, []string{cmp.Or(r.as, r.pipeline)}); err != nil {
			return err
		}
		if files := f.named(); !local && len(files) > 0 {
			k := folders.catalog(s.warnings())
			defer k.close()
			if r.loaded, err = k.load(ctx, files); err != nil {
				return err
			}
		}
		if r.sessions {
			return r.endSessions(ctx, f)
		}
		return r.reset(ctx)
	})
	folders.add(cmd)
	cmd.Flags().BoolVar(&r.sessions, "sessions", false,
		"end what other systems keep for the sources, and forget nothing here")
	cmd.Flags().StringVar(&r.as, "as", "", "a `pipeline` of the files that says where its sources were connected")
	cmd.Flags().BoolVar(&r.buffer, "buffer", false, "forget the messages in the buffer, too")
	cmd.Flags().BoolVar(&local, "local", false, "leave what other systems keep for the sources")
	cmd.MarkFlagsMutuallyExclusive("sessions", "local")
	cmd.MarkFlagsMutuallyExclusive("sessions", "buffer")
	return cmd
}

// resetting is a reset of a pipeline.
type resetting struct {
	std
	loaded
	state            *store.Store
	pipeline, as     string
	buffer, sessions bool
}

// endSessions ends what other systems keep for the sources.
func (r *resetting) endSessions(ctx context.Context, f *stateFlags) error {
	if err := f.idle(ctx, r.std, r.pipeline); err != nil {
		return err
	}
	sources := r.sources()
	if sources == nil {
		return failure{
			code: exitUsage, err: fmt.Errorf(
				"pipeline %q is not in the files, which say where its sources were connected", r.pipeline),
			hint: "--as NAME names one that reads the same systems; or give a FILE that has it",
		}
	}
	return r.forget(ctx, sources)
}

// sources returns those of the pipeline by their instances, nil if it is not known.
func (r *resetting) sources() iter.Seq2[string, *bridge.Endpoint[bridge.Source]] {
	as := cmp.Or(r.as, r.pipeline)
	p := r.loaded.pipeline(as)
	if p == nil {
		return nil
	}
	return func(yield func(string, *bridge.Endpoint[bridge.Source]) bool) {
		for instance, source := range p.Sources() {
			if !yield(r.pipeline+strings.TrimPrefix(instance, as), source) {
				return
			}
		}
	}
}

// keeps returns what other systems keep for the sources of pipelines, and for which of these.
func keeps(pipelines []*engine.Pipeline) map[string]string {
	all := make(map[string]string)
	for _, p := range pipelines {
		for instance, source := range p.Sources() {
			if source.Keeps != nil {
				all[source.Keeps(bridge.Env{Pipeline: p.Name, Instance: instance})] = p.Name
			}
		}
	}
	delete(all, "")
	return all
}

func (r *resetting) reset(ctx context.Context) error {
	used, err := r.state.InUse(ctx)
	none := errors.Is(err, store.ErrNoState)
	sources := r.sources()
	switch {
	case err != nil && (!none || sources == nil):
		return err
	case used:
		return store.ErrInUse
	case sources != nil:
		if err := r.forget(ctx, sources); err != nil {
			return failure{
				code: exitFailed, err: fmt.Errorf("%w; nothing of the state is forgotten", err),
				hint: "--local forgets what the state has, and asks no other system",
			}
		}
	}
	var checkpoints int
	var messages uint64
	if !none {
		if checkpoints, messages, err = r.state.Reset(ctx, r.pipeline, r.buffer); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "forgot %s", bridge.Plural(checkpoints, "checkpoint"))
	if r.buffer {
		fmt.Fprintf(r.out, " and %s", bridge.Plural(messages, "message"))
	}
	fmt.Fprintln(r.out)
	return nil
}

// forget ends what other systems keep for the sources of the pipeline, but for what they keep for
// another one.
func (r *resetting) forget(ctx context.Context, sources iter.Seq2[string, *bridge.Endpoint[bridge.Source]]) error {
	stop, err := startServers(ctx, r.std, r.state, r.loaded)
	if err != nil {
		return err
	}
	var errs []error
	others := keeps(slices.DeleteFunc(r.All(), func(p *engine.Pipeline) bool { return p.Name == r.pipeline }))
	for instance, source := range sources {
		if source.Forget == nil {
			continue
		}
		env := bridge.Env{Pipeline: r.pipeline, Instance: instance, Logger: r.warnings()}
		kept := source.Keeps(env)
		if other := others[kept]; other != "" {
			fmt.Fprintf(r.err, "%s is that of pipeline %s, and stays\n", kept, other)
			continue
		}
		ended, err := source.Forget(ctx, env)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("end what %s keeps for %s: %w", source.Type, instance, err))
		case ended:
			fmt.Fprintln(r.out, "ended", kept)
		case r.sessions:
			fmt.Fprintln(r.out, "there is no more", cmp.Or(kept, "of "+source.Type+" "+instance))
		}
	}
	return errors.Join(append(errs, stop())...)
}

func newStateRename(s std, f *stateFlags) *cobra.Command {
	return f.looks(&cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give what is remembered of a pipeline to one of another name",
		Long: `rename is for a pipeline that has got another name in its file: checkpoints, buffer and dead
letters follow it. No bridge may be running. What NEW has must go first, if it has run: state
reset NEW --buffer forgets it; dead letters are added to those that it has. What other systems
keep by name, like a durable consumer of JetStream or a persistent session of an MQTT broker,
stays behind there, unless the source has a client_id or durable of its own: state reset OLD
--sessions --as NEW ends it.`,
		Args: cobra.ExactArgs(2),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		from, to := args[0], args[1]
		switch {
		case from == to:
			return failure{code: exitUsage, err: errors.New("OLD and NEW are the same name")}
		case len(f.pipelines) > 0 && !slices.Contains(f.pipelines, to):
			return unknown("pipeline", to, f.pipelines, "give it its new name in the file first")
		}
		if err := f.idle(ctx, s, from, to); err != nil {
			return err
		}
		moved, err := state.Rename(ctx, from, to)
		if taken, ok := errors.AsType[*store.TakenError](err); ok {
			return failure{
				code: exitFailed, err: fmt.Errorf("%w; nothing is renamed", taken),
				hint: f.command("state reset "+to+" --buffer") + " forgets that; what it has in a buffer is never delivered then",
			}
		}
		if err != nil {
			return err
		}
		if len(moved) == 0 {
			return failure{
				code: exitFailed, err: fmt.Errorf("the state has nothing of pipeline %q", from),
				hint: f.command("state list") + " shows what it has",
			}
		}
		fmt.Fprintf(s.out, "pipeline %s has what %s had: %s\n", to, from, strings.Join(inState(moved, from), ", "))
		return nil
	})
}

// inState says what of the entries is of a pipeline.
func inState(entries []store.Entry, pipeline string) (all []string) {
	for _, e := range entries {
		switch {
		case e.Pipeline != pipeline:
		case e.Kind != "checkpoint":
			all = append(all, fmt.Sprintf("%s (%s)", e.Kind, bridge.Plural(e.Size, "message")))
		case !slices.Contains(all, "checkpoints"):
			all = append(all, "checkpoints")
		}
	}
	return all
}

// idle returns an error if a bridge runs one of the pipelines, which an external state does not tell.
func (f *stateFlags) idle(ctx context.Context, s std, pipelines ...string) error {
	r := runningFlags{stateFlags: *f}
	c, err := r.dial(ctx, s)
	if errors.Is(err, admin.ErrNobody) {
		return nil // and a folder that is used is locked
	}
	if err != nil {
		return err
	}
	defer c.Close()
	status, err := askStatus(ctx, c)
	if err != nil {
		return err
	}
	for _, p := range status.Pipelines {
		if slices.Contains(pipelines, p.Name) {
			return failure{code: exitFailed, err: fmt.Errorf("a bridge runs pipeline %q", p.Name), hint: "stop the bridge first"}
		}
	}
	return nil
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// startServers starts the embedded servers for a command that does what run does, unless a bridge
// that runs has them, and lets the pipelines of c in.
func startServers(ctx context.Context, s std, state *store.Store, c loaded) (func() error, error) {
	used, err := state.InUse(ctx)
	switch {
	case err != nil && !errors.Is(err, store.ErrNoState):
		return nil, err
	case used:
		return func() error { return nil }, c.servers.Login(c.urls)
	}
	set := c.servers
	if set.NATS != nil {
		visited := *set.NATS
		visited.Visitor = true
		set.NATS = &visited
	}
	server, err := embedded.Start(ctx, set, s.warnings())
	if err != nil {
		return nil, err
	}
	if err := server.Login(c.urls); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return server.Close, nil
}
