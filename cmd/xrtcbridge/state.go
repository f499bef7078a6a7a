package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// stateFlags say which state a command looks into.
type stateFlags struct {
	files     []string
	dir       string
	shared    bool
	json      bool
	pipelines []string     // in the files, once they are read
	urls      []bridge.URL // likewise, of the state
}

func (f *stateFlags) add(cmd *cobra.Command) {
	configFlag(cmd, cmd.PersistentFlags(), &f.files,
		"pipeline file that says where the state is (default: "+defaultFile+", if it is there)")
	cmd.PersistentFlags().StringVar(&f.dir, "state", "", "folder of the state, instead of what a file says")
	cmd.PersistentFlags().BoolVar(&f.shared, "shared", false,
		"others may own that folder or write to it, as state: {shared: true} says in a file")
}

const anyNumber = 1 << 30

// looks makes a command look into the state, with a context that a signal ends. Of its arguments,
// so many at the front are pipelines, which the files or the state must know.
func (f *stateFlags) looks(cmd *cobra.Command, s std, pipelines int,
	do func(ctx context.Context, state *store.Store, args []string) error,
) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if f.files, err = config.Files(f.files...); err != nil {
			return failure{code: exitUsage, err: err}
		}
		set, err := f.settings(s)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
		defer stop()
		state := store.Look(set, s.warnings(), visit(set))
		if err = f.known(ctx, state, args[:min(pipelines, len(args))]); err == nil {
			err = do(ctx, state, args)
		}
		return f.explained(errors.Join(err, state.Close()))
	}
	return cmd
}

// printsJSON gives a command that prints a list the flag --json.
func (f *stateFlags) printsJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	return cmd
}

// known returns an error for a name that is misspelt, perhaps.
func (f *stateFlags) known(ctx context.Context, state *store.Store, names []string) error {
	known := f.pipelines
	strange := func(name string) bool { return !slices.Contains(known, name) }
	if !slices.ContainsFunc(names, strange) {
		return nil
	}
	for _, name := range names {
		if err := meantFile(name); strange(name) && err != nil {
			return err
		}
	}
	entries, err := state.Entries(ctx, "")
	if err != nil && (len(known) == 0 || !errors.Is(err, store.ErrNoState)) {
		return err
	}
	for _, e := range entries {
		known = append(known, e.Pipeline)
	}
	if at := slices.IndexFunc(names, strange); at >= 0 {
		return unknown("pipeline", names[at], known, f.command("state list")+" shows what the state has")
	}
	return nil
}

// meantFile returns an error for a file that stands where none is expected.
func meantFile(name string) error {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		return failure{
			code: exitUsage, err: fmt.Errorf("there is no pipeline %q", name),
			hint: "it is a file: --config " + name + " says where the state is",
		}
	}
	return nil
}

// explained returns an error with what to do about it.
func (f *stateFlags) explained(err error) error {
	hint := ""
	var others *owned.OthersError
	switch {
	case err == nil || errors.As(err, new(failure)):
		return err
	case errors.Is(err, store.ErrInUse):
		hint = "stop the bridge first"
	case errors.Is(err, store.ErrNoBuffer):
		hint = f.command("state list") + " shows what the state has; a pipeline has a buffer with buffer: " +
			"disk once it has run"
	case errors.Is(err, store.ErrNoState):
		hint = "--config FILE, or --state FOLDER, says where another state is"
	case errors.As(err, &others) && others.Theirs && os.Geteuid() == 0: // what root makes there its user could not change
	case others != nil:
		hint = "--shared looks into a folder that others share, all the same"
	case errors.Is(err, fs.ErrPermission):
		hint = "sudo -u USER xrtcbridge … asks as the user whose bridge it is"
	}
	return failure{code: exitFailed, err: err, hint: hint}
}

// settings returns what the files say of the state, which must be somewhere.
func (f *stateFlags) settings(s std) (store.Settings, error) {
	set, _, err := f.read(s)
	if err != nil || set.NATS == nil && !set.Off() {
		return set, err
	}
	if set.Off() {
		return set, failure{
			code: exitUsage, err: errors.New("state is off, so that nothing is remembered"),
			hint: "--state FOLDER looks into another one",
		}
	}
	var servers embedded.Settings // of a bridge that runs, perhaps
	l := config.Loader{Registry: builtin(), Sections: map[string]any{"embedded": &servers}, URLs: &f.urls, Stdin: s.file}
	if _, err = l.LoadSections(f.named()...); err == nil {
		err = servers.Login(f.urls)
	}
	if err != nil {
		return set, failure{code: exitUsage, err: err}
	}
	return set, nil
}

// read returns what the files say of the state, and the first file.
func (f *stateFlags) read(s std) (set store.Settings, first string, err error) {
	files := f.named()
	if len(f.files) == 0 && len(files) > 0 {
		if err := trustDefault(); err != nil {
			return set, "", err
		}
	}
	first = defaultFile
	if len(files) > 0 {
		first = files[0]
		l := config.Loader{Registry: builtin(), Sections: map[string]any{"state": &set}, URLs: &f.urls, Stdin: s.file}
		if f.pipelines, err = l.LoadSections(files...); err != nil {
			return set, "", failure{code: exitUsage, err: err}
		}
		set = besideFile(set, first)
	}
	if f.dir != "" {
		return store.Settings{Dir: f.dir, Shared: f.shared}, first, nil
	}
	set.Shared = set.Shared || f.shared
	return set, first, nil
}

// named returns the files that say more than the flags, if there are any.
func (f *stateFlags) named() []string {
	if _, err := os.Stat(defaultFile); len(f.files) == 0 && f.dir == "" && !errors.Is(err, os.ErrNotExist) {
		return []string{defaultFile}
	}
	return f.files
}

// besideFile puts a state for which no place is named into the folder of the first file.
func besideFile(s store.Settings, file string) store.Settings {
	if s.Dir == "" && s.NATS == nil {
		s.Dir = filepath.Join(filepath.Dir(file), store.DefaultDir)
	}
	return s
}

// command returns a command line with the flags that say which state is meant.
func (f *stateFlags) command(args string) string {
	words := []string{"xrtcbridge", args}
	for _, file := range f.files {
		words = append(words, "--config", file)
	}
	if f.dir != "" {
		words = append(words, "--state", f.dir)
	}
	if f.shared {
		words = append(words, "--shared")
	}
	return strings.Join(words, " ")
}

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
		Args: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := meantFile(name); err != nil {
					return err
				}
			}
			return cobra.NoArgs(cmd, args)
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
		size := fmt.Sprintf("%d messages", e.Size)
		if e.Kind == "checkpoint" {
			size = fmt.Sprintf("%d bytes", e.Size)
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
	var buffer, local bool
	cmd := f.looks(&cobra.Command{
		Use:   "reset PIPELINE",
		Short: "Forget how far the sources of a pipeline have come, so that they begin anew",
		Long: `reset forgets the checkpoints of a pipeline: its sources begin anew, as their settings say. What
other systems keep for them, like a durable consumer of JetStream or a persistent session of an
MQTT broker, is ended, if the pipeline is in the files (--config); --local leaves that. With
--buffer what the buffer holds is forgotten, too, and never delivered. No bridge may be running.`,
		Args: cobra.ExactArgs(1),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) (err error) {
		var c loaded
		if files := f.named(); !local && len(files) > 0 {
			k := folders.catalog(s.warnings())
			defer k.close()
			if c, err = k.load(ctx, files); err != nil {
				return err
			}
		}
		return reset(ctx, s, state, c, args[0], buffer)
	})
	folders.add(cmd)
	cmd.Flags().BoolVar(&buffer, "buffer", false, "forget the messages in the buffer, too")
	cmd.Flags().BoolVar(&local, "local", false, "leave what other systems keep for the sources")
	return cmd
}

func reset(ctx context.Context, s std, state *store.Store, c loaded, pipeline string, buffer bool) error {
	used, err := state.InUse(ctx)
	none := errors.Is(err, store.ErrNoState)
	var sources iter.Seq2[string, *bridge.Endpoint[bridge.Source]]
	if p := c.pipeline(pipeline); p != nil {
		sources = p.Sources()
	}
	switch {
	case err != nil && (!none || sources == nil):
		return err
	case used:
		return store.ErrInUse
	case sources != nil:
		if err := forget(ctx, s, state, c, pipeline, sources); err != nil {
			return failure{
				code: exitFailed, err: fmt.Errorf("%w; nothing of the state is forgotten", err),
				hint: "--local forgets what the state has, and asks no other system",
			}
		}
	}
	var checkpoints int
	var messages uint64
	if !none {
		if checkpoints, messages, err = state.Reset(ctx, pipeline, buffer); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "forgot %d checkpoints", checkpoints)
	if buffer {
		fmt.Fprintf(s.out, " and %d messages", messages)
	}
	fmt.Fprintln(s.out)
	return nil
}

// forget ends what other systems keep for the sources of a pipeline.
func forget(ctx context.Context, s std, state *store.Store, c loaded, pipeline string,
	sources iter.Seq2[string, *bridge.Endpoint[bridge.Source]],
) error {
	stop, err := startServers(ctx, s, state, c)
	if err != nil {
		return err
	}
	var errs []error
	for instance, source := range sources {
		if source.Forget == nil {
			continue
		}
		ended, err := source.Forget(ctx, bridge.Env{Pipeline: pipeline, Instance: instance, Logger: s.warnings()})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("end what %s keeps for %s: %w", source.Type, instance, err))
		case ended != "":
			fmt.Fprintln(s.out, "ended", ended)
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
stays behind there, unless the source has a client_id or durable of its own.`,
		Args: cobra.ExactArgs(2),
	}, s, 1, func(ctx context.Context, state *store.Store, args []string) error {
		from, to := args[0], args[1]
		switch {
		case from == to:
			return failure{code: exitUsage, err: errors.New("OLD and NEW are the same name")}
		case !config.ValidName(to):
			return failure{
				code: exitUsage, err: fmt.Errorf("%q is no name of a pipeline", to),
				hint: "it has letters, digits, - and _",
			}
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
			all = append(all, fmt.Sprintf("%s (%s)", e.Kind, plural(e.Size, "message")))
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
