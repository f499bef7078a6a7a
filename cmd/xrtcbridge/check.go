package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// defaultFile is what run and check read when no file is named.
const defaultFile = "pipelines.yaml"

func newCheck(s std, folders *pluginFolders) *cobra.Command {
	var asJSON, noEnv, connect bool
	var timeout time.Duration
	cmd := takesFiles(&cobra.Command{
		Use:     "check [FILE...]",
		Aliases: []string{"validate"},
		Short:   "Check pipeline files without starting their pipelines, and say what they guarantee",
		Long: `check reads the files (default: pipelines.yaml) as run would, together, prints
every mistake with its place, and starts nothing but plugins, who know what their
settings are. It exits with 2 if there is a mistake, and says all the same what else
it has found.

Of each pipeline it says how often a message may arrive, which place decides that, and
whether messages may run in circles; of each embedded server who gets in, and where the
password is; and which folders are shared with others.

With --no-env it needs no secrets, as in the CI of a repository of pipelines: placeholders
stand for ${VAR}, ${file:…}, ${cred:…} and env(), but for those with a default, and nothing is read
of the environment. It lists what they stand for, which must be set for run, and claims
nothing that hangs on their values.

With --connect it then tries every place that run would connect to: sources, sinks and
sinks for dead letters of the pipelines that are enabled, a state outside of the process,
the ports of embedded servers. It logs in, subscribes, looks for streams, consumers,
portals, files and folders, and says of each place what is right, what failed, with exit
code 1, and what was not tried since it would change something. It changes nothing: no
session, stream, consumer or file is made or taken over, no message sent, taken or
acknowledged, and a bridge that runs beside it goes on. With --json there is an object for
each place behind those of the pipelines.`,
	}, func(cmd *cobra.Command, files []string) error {
		k := folders.catalog(s.warnings())
		defer k.close()
		var c, other loaded
		var err error
		switch {
		case noEnv && connect:
			return failure{
				code: exitUsage,
				err:  errors.New("--connect needs the values that --no-env does without"),
				hint: "leave out one of them",
			}
		case timeout != 0 && !connect:
			return failure{code: exitUsage, err: errors.New("--timeout goes with --connect")}
		}
		if noEnv {
			if cmd.Flags().Changed("env-file") {
				return failure{
					code: exitUsage,
					err:  errors.New("--no-env reads nothing of the environment"),
					hint: "leave out --env-file, or --no-env",
				}
			}
			c, other, err = k.loadGuessed(cmd.Context(), folders, files)
		} else {
			c, err = k.load(cmd.Context(), files)
		}
		var wrong failure
		switch {
		case errors.As(err, &wrong) && c.Config != nil:
			wrong.tell(s.err) // and then what else there is to say
			wrong = failure{code: wrong.code}
		case err != nil:
			return err
		}
		all, others := c.promises(), other.promises()
		for _, e := range c.Warnings {
			fmt.Fprintf(s.err, "%s: warning: %s; %s\n", e.Place(), e.Message, e.Hint)
		}
		for _, p := range all {
			p.Description = c.Descriptions[p.Pipeline]
			p.doubt(others)
			p.show(c.Written)
			if asJSON {
				err = printJSON(s, p)
			} else {
				err = p.write(s.out)
			}
			if err != nil {
				return err
			}
		}
		if noEnv {
			if err := writePlaceholders(s, c, asJSON); err != nil {
				return err
			}
		}
		if wrong.code != 0 {
			return wrong
		}
		if len(all) == 0 {
			fmt.Fprintln(s.err, "no pipelines: run starts the embedded servers, and nothing else")
		}
		if !asJSON {
			if err := writeEntries(s.out, c, other); err != nil {
				return err
			}
		}
		if !connect {
			return nil
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
		defer stop()
		return k.connect(ctx, s, c, files, cmp.Or(timeout, connectTimeout), asJSON)
	})
	folders.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	cmd.Flags().BoolVar(&noEnv, "no-env", false,
		"read nothing of the environment: placeholders stand for variables, ${file:…} and ${cred:…}")
	cmd.Flags().BoolVar(&connect, "connect", false, "try every connection, and change nothing")
	durationFlag(cmd.Flags(), &timeout, "timeout",
		"how long each connection may take with --connect, a `duration`; default 5s")
	return cmd
}

// promises returns those of all pipelines.
func (c loaded) promises() (all []promise) {
	if c.Config == nil {
		return nil
	}
	circles := loops(c.Pipelines)
	for i, p := range c.Pipelines {
		all = append(all, promised(p, c.state, circles[i]))
	}
	for _, p := range c.Disabled {
		off := promised(p, c.state, "")
		off.Disabled = true
		all = append(all, off)
	}
	for _, p := range c.Broken {
		all = append(all, promise{Pipeline: p.Name, Broken: true, Warnings: surely(p)})
	}
	return all
}

// sharedWarning says what is given up by shared: true.
const sharedWarning = "shared: neither owner nor modes are looked at, " +
	"so that others who can write there can read and change " +
	"what is kept, messages, accounts and passwords that were made included, and stop the bridge"

// shared returns the folders and files that are shared, by the setting.
func (c loaded) shared() iter.Seq2[string, string] {
	return func(yield func(setting, dir string) bool) {
		if c.state.Shared && !c.state.Off() && !yield("state", c.state.Place().Path) {
			return
		}
		if n := c.servers.NATS; n != nil && n.Shared && !yield("embedded.nats.store", n.Store) {
			return
		}
		if x := c.servers.XRTC; x != nil && x.Registration != nil && x.Registration.Shared {
			yield("embedded.xrtc.registration.accounts", x.Registration.Accounts)
		}
	}
}

// writeEntries says which folders are shared, and who gets into the embedded servers, as far as it
// is the same with other placeholders, if there are some.
func writeEntries(w io.Writer, c, other loaded) error {
	var text strings.Builder
	for setting, dir := range c.shared() {
		fmt.Fprintf(&text, "%s: %s\n  warning: %s\n", setting, dir, sharedWarning)
	}
	for _, e := range c.servers.Entries() {
		fmt.Fprintf(&text, "embedded %s: ", e.Server)
		switch {
		case other.Config != nil && !slices.Contains(other.servers.Entries(), e):
			text.WriteString(unknownWithout + "\n")
		case e.Open:
			text.WriteString("open\n  warning: every user of this machine gets in; " +
				"without open, a password is made at the first start\n")
		case !e.Made:
			fmt.Fprintf(&text, "user %s\n", e.Username)
		case e.File == "":
			fmt.Fprintf(&text, "user %s, a password is made at each start and kept in a file that the log names\n", e.Username)
		default:
			fmt.Fprintf(&text, "user %s, the password is in %s, made at the first start\n", e.Username, e.File)
		}
	}
	_, err := io.WriteString(w, c.Written(text.String()))
	return err
}

// loaded is what files say.
type loaded struct {
	*config.Config
	servers embedded.Settings
	state   store.Settings
	admin   *admin.Settings
	log     logSettings
	urls    []bridge.URL // of everything

	telemetry metrics.Telemetry
}

// pipeline returns the one of that name, nil if there is none.
func (c loaded) pipeline(name string) *engine.Pipeline {
	if c.Config == nil {
		return nil
	}
	for _, p := range c.All() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// trustDefault refuses the default file if another user could have put it there: it lies in
// whatever folder a command is started in, and can have programs started.
func trustDefault() error {
	_, err := owned.ReadFile(defaultFile)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	hint := ""
	if errors.As(err, new(*owned.OthersError)) {
		hint = "if you trust it, name it: --config " + defaultFile
	}
	return failure{code: exitUsage, err: err, hint: hint}
}

// load reads the files, or the default one, with a loader that adjust may change.
func (k *catalog) load(ctx context.Context, named []string, adjust ...func(*config.Loader)) (loaded, error) {
	files := named
	var c loaded
	if len(files) == 0 {
		files = []string{defaultFile}
		if err := trustDefault(); err != nil {
			return c, err
		}
	}
	l := k.loader(ctx)
	l.Sections["embedded"], l.Sections["state"], l.Sections["admin"] = &c.servers, &c.state, &c.admin
	c.log = defaultLog()
	l.Sections["log"], l.Sections["telemetry"] = &c.log, &c.telemetry
	l.ServersKey, l.URLs = "embedded", &c.urls
	for _, f := range adjust {
		f(&l)
	}
	var err error
	c.Config, err = l.Load(files...)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(named) == 0:
		return c, failure{
			code: exitUsage, err: err,
			hint: "name a file; or run without one: echo hello | xrtcbridge run --from stdio --to stdio",
		}
	case err != nil:
		return c, failure{code: exitUsage, err: err}
	}
	c.state = besideFile(c.state, files[0])
	if c.state.NATS == nil && !c.state.Off() {
		c.servers.Passwords = c.state.Place()
	}
	for _, p := range c.All() {
		if what := remembered(p); what != "" && c.state.Off() {
			return c, failure{code: exitUsage, err: fmt.Errorf("pipeline %q: %s needs a state, and state is off",
				p.Name, what), hint: "name a folder, as in state: data/state"}
		}
	}
	return c, nil
}

// remembered says what of p is kept in the state and cannot do without.
func remembered(p *engine.Pipeline) string {
	inState := func(o *bridge.OnError) bool { return o.Then == bridge.FateDeadLetter && o.DeadLetter.Open == nil }
	switch {
	case p.Buffer != nil:
		return "buffer: disk"
	case slices.ContainsFunc(fates(p), inState):
		return "then: dead_letter without a sink"
	}
	return ""
}
