package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
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
		"the same as FILE, which says where the state is (default: "+defaultFile+", if it is there)")
	cmd.PersistentFlags().StringVar(&f.dir, "state", "", "folder of the state, instead of what a file says")
	cmd.PersistentFlags().BoolVar(&f.shared, "shared", false,
		"others may own that folder or write to it, as state: {shared: true} says in a file")
}

const anyNumber = 1 << 30

// looks makes a command look into the state, with a context that a signal ends. Of its arguments,
// so many at the front are pipelines, which the files or the state must know; what is no name is a
// file.
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
	return andFiles(cmd, &f.files)
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
			hint: asFile(name) + " is the file, which says where the state is",
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
		hint = "FILE, or --state FOLDER, says where another state is"
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
		words = append(words, asFile(file))
	}
	if f.dir != "" {
		words = append(words, "--state", f.dir)
	}
	if f.shared {
		words = append(words, "--shared")
	}
	return strings.Join(words, " ")
}
