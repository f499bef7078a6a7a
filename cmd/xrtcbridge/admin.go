package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
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
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// runningFlags say which bridge that runs a command is about.
type runningFlags struct {
	stateFlags
	pid   int
	given []string // files, folders and patterns, once the places are known
}

func (f *runningFlags) add(cmd *cobra.Command) {
	f.stateFlags.add(cmd)
	cmd.PersistentFlags().IntVar(&f.pid, "pid", 0,
		"`number` of the process of the bridge, for one that run --from has started")
}

// asks makes a command ask a bridge that runs, with a context that a signal ends. The first
// arguments, so many, are what do gets, and those behind them files that say which bridge.
func (f *runningFlags) asks(cmd *cobra.Command, s std, own int,
	do func(ctx context.Context, c *admin.Client, args []string) error,
) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args, files := args[:own], args[own:]
		f.files = append(f.files, files...)
		ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
		defer stop()
		c, err := f.dial(ctx, s)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := alive(ctx, c); err != nil {
			return err
		}
		if err := f.meant(ctx, c); err != nil {
			return f.refused(err)
		}
		return f.refused(do(ctx, c, args))
	}
	return cmd
}

// meant returns an error if the bridge does not run the files that are named: it is another one,
// with the same state.
func (f *runningFlags) meant(ctx context.Context, c *admin.Client) error {
	if len(f.given) == 0 {
		return nil
	}
	st, err := askStatus(ctx, c)
	if err != nil {
		return err
	}
	return f.runs(c.Place, st)
}

// runs is meant, with what the bridge at the place says of itself. A folder need not have the files
// any more that it had.
func (f *runningFlags) runs(at admin.Place, st monitor.Status) error {
	strange := slices.DeleteFunc(slices.Clone(f.given), func(name string) bool {
		files, _ := config.Files(name) // they have been found before
		return slices.ContainsFunc(st.Config.Files, func(runs string) bool {
			return slices.ContainsFunc(append(files, name), func(file string) bool { return sameName(runs, file) }) ||
				runs != "-" && sameName(filepath.Dir(runs), name)
		})
	})
	if len(strange) == 0 {
		return nil
	}
	what, hint := "no file", "FILE, --state FOLDER or --pid NUMBER says which bridge is meant"
	if len(st.Config.Files) > 0 {
		what = strings.Join(near(st.Config.Files), ", ")
		hint = "name " + what + " if that is meant; bridges that run beside each other need a state each, " +
			"as in state: {dir: data/other}"
	}
	return failure{
		code: exitNobody, hint: hint,
		err: fmt.Errorf("the bridge that answers at %s runs %s, not %s", at, what, strings.Join(strange, ", ")),
	}
}

// sameName reports whether two names are of one file, which may have gone since.
func sameName(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	if err1 == nil && err2 == nil {
		return os.SameFile(x, y)
	}
	return slices.Equal(absolute([]string{a}), absolute([]string{b}))
}

// near returns the names of files as they are from here, if they are below.
func near(files []string) []string {
	all := slices.Clone(files)
	here, err := os.Getwd()
	for i, file := range files {
		if rel, bad := filepath.Rel(here, file); err == nil && bad == nil && filepath.IsLocal(rel) {
			all[i] = rel
		}
	}
	return all
}

// dial finds the bridge that runs.
func (f *runningFlags) dial(ctx context.Context, s std) (*admin.Client, error) {
	places, mistake := f.places(s)
	return f.dialAt(ctx, places, mistake)
}

// dialAt is dial with what places has returned. Perhaps a bridge runs what the file said before
// somebody broke it.
func (f *runningFlags) dialAt(ctx context.Context, places []admin.Place, mistake error) (*admin.Client, error) {
	if mistake != nil {
		if len(f.files) == 0 || errors.Is(mistake, fs.ErrNotExist) {
			return nil, mistake
		}
		places = runPlaces(besideFile(store.Settings{}, f.files[0]), f.files[0])
	}
	c, err := admin.Dial(ctx, places...)
	if err != nil && mistake != nil {
		return nil, mistake
	}
	return c, f.refused(err)
}

// places returns where the bridge may answer.
func (f *runningFlags) places(s std) (places []admin.Place, err error) {
	f.given = f.files
	if f.files, err = config.Files(f.given...); err != nil {
		return nil, failure{code: exitUsage, err: err}
	}
	if f.pid != 0 {
		return fromPlaces(f.pid), nil
	}
	set, file, err := f.read(s)
	if err != nil {
		return nil, err
	}
	return runPlaces(set, file), nil
}

// refused returns an error of a bridge that was asked with what to do about it.
func (f *runningFlags) refused(err error) error {
	var answer *admin.Error
	switch {
	case errors.Is(err, admin.ErrNobody):
		return failure{
			code: exitNobody, err: err,
			hint: "xrtcbridge run" + strings.Join(append([]string{""}, f.given...), " ") + " starts one; FILE, " +
				"--state FOLDER or --pid NUMBER says which bridge is meant; " +
				"one without a state folder answers to its own user only (sudo -u USER …)",
		}
	case errors.As(err, new(failure)):
		return err
	case errors.As(err, &answer):
		return failure{code: exitFailed, err: err}
	case errors.As(err, new(*owned.OthersError)), errors.Is(err, fs.ErrPermission):
		return f.explained(err)
	}
	return err
}

// runPlaces returns where a bridge that runs files answers, of which one is the first. Where the
// state is no folder, what counts is where it would be.
func runPlaces(set store.Settings, file string) []admin.Place {
	if set.NATS != nil || set.Off() {
		return []admin.Place{admin.Elsewhere(filepath.Join(filepath.Dir(file), store.DefaultDir))}
	}
	return []admin.Place{admin.InState(set.Place()), admin.Elsewhere(set.Place().Path)}
}

// fromPlaces returns where a process answers that runs no file.
func fromPlaces(pid int) []admin.Place {
	return []admin.Place{admin.Elsewhere(fmt.Sprintf("/pid/%d", pid))}
}

// visit returns what leads to the state of a bridge that runs.
func visit(set store.Settings) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var conn net.Conn
		err := soon(ctx, mostWait, func(ctx context.Context) error {
			c, err := admin.Dial(ctx, runPlaces(set, "")...)
			if err == nil {
				defer c.Close()
				conn, err = c.Upgrade(ctx, statePath, "nats")
			}
			return err
		})
		return conn, err
	}
}

// statePath is where commands get to the state at the socket.
const statePath = "/state"

// answer makes a server answer about the bridge that runs.
func (f runFlags) answer(
	ctx context.Context, o admin.Options, state *store.Store, c loaded, files []string, r *running,
) (*admin.Server, error) {
	a := admin.New(o)
	a.HandleLocal("GET "+statePath, admin.Upgrade("nats", state.Enter))
	r.answering(ctx, a, monitor.Config{Files: absolute(files), Loaded: time.Now()})
	places := fromPlaces(os.Getpid())
	if f.from == "" {
		places = runPlaces(c.state, files[0])
	}
	at, err := a.Listen(ctx, places...)
	if err != nil {
		at = places[0]
		o.Logger.WarnContext(ctx, "commands cannot ask this bridge while it runs", "err", err)
	}
	if c.admin == nil {
		return a, nil
	}
	set, log := *c.admin, o.Logger
	if set.Token.IsZero() {
		token, err := at.Folder.Secret(ctx, tokenFile, true)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("make the token for admin.listen in %s: %w", at.Sibling(tokenFile), err)
		}
		set.Token, set.TokenFile = bridge.NewSecret(token), at.Sibling(tokenFile)
		log = log.With("token", set.TokenFile)
	}
	url, err := a.ListenTCP(ctx, set)
	if err != nil {
		a.Close()
		return nil, err
	}
	log.InfoContext(ctx, "answering, and xrtcbridge dashboard opens the page", "url", url)
	return a, nil
}

// tokenFile has the token for HTTP if the configuration has none.
const tokenFile = "admin.token"

// absolute returns the names of files for who looks from elsewhere.
func absolute(files []string) []string {
	all := slices.Clone(files)
	for i, file := range files {
		if name, err := filepath.Abs(file); err == nil && file != "-" {
			all[i] = name
		}
	}
	return all
}
