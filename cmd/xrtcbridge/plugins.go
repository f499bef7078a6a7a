package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
)

func newPlugins(s std, folders *pluginFolders) *cobra.Command {
	return group(&cobra.Command{
		Use:   "plugins",
		Short: "List, check and lock connector plugins",
	}, newPluginsList(s, folders), newPluginsCheck(s), newPluginsLock(s))
}

func newPluginsList(s std, folders *pluginFolders) *cobra.Command {
	cmd := takesFiles(&cobra.Command{
		Use:   "list [FILE...]",
		Short: "List the plugins of --plugin-dir and of pipeline files, with their connectors",
		Long: `list starts each plugin in the folders of --plugin-dir, and each that the files list under
plugins: (default: pipelines.yaml if it is there), and prints what it has.`,
	}, func(cmd *cobra.Command, files []string) error {
		k := folders.catalog(s.warnings())
		defer k.close()
		if _, err := os.Stat(defaultFile); err == nil && len(files) == 0 {
			files = []string{defaultFile}
			if err := trustDefault(); err != nil {
				return err
			}
		}
		if err := k.loadPlugins(cmd.Context(), files); err != nil {
			return err
		}
		l := s.list(false, "NAME", "VERSION", "CONNECTORS", "LOCKED", "PATH")
		for _, p := range k.host.Plugins() {
			locked := "no"
			if p.Locked() {
				locked = "yes"
			}
			l.row(nil, p.Name, cmp.Or(p.Version(), "-"), strings.Join(connectorNames(p), ", "), locked, p.Path())
		}
		return l.end()
	})
	folders.add(cmd)
	return cmd
}

func connectorNames(p *host.Plugin) []string {
	var names []string
	for _, c := range p.Connectors() {
		names = append(names, c.Name)
	}
	return names
}

func newPluginsCheck(s std) *cobra.Command {
	var env []string
	cmd := &cobra.Command{
		Use:   "check PROGRAM...",
		Short: "Start programs as plugins and say whether the bridge can use them",
		Example: `  xrtcbridge plugins check ./xrtcbridge-clock
  xrtcbridge plugins check --env PATH ./xrtcbridge-web`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, programs []string) error {
			failed := 0
			for _, path := range programs {
				if err := checkPlugin(cmd.Context(), s, path, env); err != nil {
					failed++
					fmt.Fprintf(s.err, "xrtcbridge: %s: %v\n", path, err)
				}
			}
			if failed > 0 {
				return fmt.Errorf("%s cannot be used", bridge.Plural(failed, "program"))
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&env, "env", nil,
		"NAME or NAME=value that it gets of the environment, as env: says in YAML; repeatable")
	return cmd
}

func checkPlugin(ctx context.Context, s std, path string, env []string) error {
	settings := host.Settings{Path: path, Env: env}
	if err := settings.Validate(); err != nil {
		return err
	}
	h := host.New(s.warnings())
	defer func() { _ = h.Close() }()
	p, err := h.Load(ctx, "checked", settings)
	if err != nil {
		return err
	}
	if err := p.Add(builtin()); err != nil {
		return err
	}
	sum, err := host.Sum(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is a plugin\n  version     %s\n  sha256      %s\n", path, cmp.Or(p.Version(), "-"), sum)
	for _, c := range p.Connectors() {
		fmt.Fprintf(s.out, "  connector   %s (%s): %s\n", c.Name, strings.Join(kinds(c), ", "), c.Summary)
	}
	return nil
}

func newPluginsLock(s std) *cobra.Command {
	return takesFiles(&cobra.Command{
		Use:   "lock [FILE]",
		Short: "Write the checksum of each plugin into a pipeline file",
		Long: `lock writes sha256: into the entries under plugins: of the file (default: pipelines.yaml), or
brings it up to date, and leaves everything else of the file as it is. From then on only these
very programs are started.`,
	}, func(_ *cobra.Command, files []string) error {
		switch len(files) {
		case 0:
			if err := trustDefault(); err != nil {
				return err
			}
			return lockPlugins(s, defaultFile)
		case 1:
			return lockPlugins(s, files[0])
		}
		return failure{code: exitUsage, err: errors.New("lock takes one file")}
	})
}

func lockPlugins(s std, file string) error {
	var plugins map[string]host.Settings
	l := config.Loader{Registry: builtin(), Sections: map[string]any{"plugins": &plugins}}
	if _, err := l.LoadSections(file); err != nil {
		return failure{code: exitUsage, err: err}
	}
	if len(plugins) == 0 {
		return failure{
			code: exitUsage, err: fmt.Errorf("%s lists no plugins", file),
			hint: "write plugins: {NAME: {path: PROGRAM}}",
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		sum, err := host.Sum(plugins[name].Path)
		if err != nil {
			return fmt.Errorf("plugin %q: %w", name, err)
		}
		state := "locked"
		switch plugins[name].SHA256 {
		case sum:
			state = "unchanged"
		case "":
		default:
			state = "updated"
		}
		if text, err = config.SetKey(file, text, []string{"plugins", name, "sha256"}, "path", sum); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s: %s %s\n", name, state, sum)
	}
	return replaceFile(file, text)
}

// replaceFile puts text in place of the content of a file, all of it or nothing.
func replaceFile(name string, text []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
