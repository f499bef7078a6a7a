package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/connectors"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
)

func builtin() *bridge.Registry { return bridge.NewRegistry(tested(connectors.Builtin())...) }

// pluginFolders are where plugins are found by name.
type pluginFolders struct {
	flag  []string
	stdin func() ([]byte, error) // for the loader
}

const pluginsVariable = "XRTCBRIDGE_PLUGINS"

func (f *pluginFolders) add(cmd *cobra.Command) {
	cmd.Flags().Func("plugin-dir",
		"`folder` in which the connector NAME is found as the program xrtcbridge-NAME; repeatable, and "+pluginsVariable+
			" lists more", func(folder string) error {
			if info, err := os.Stat(folder); err != nil || !info.IsDir() {
				return errors.New("there is no such folder")
			}
			f.flag = append(f.flag, folder)
			return nil
		})
}

// catalog is the connectors that pipelines may use: those that are built in, and those of plugins.
type catalog struct {
	registry *bridge.Registry
	host     *host.Host
	plugins  map[string]host.Settings // as the files say
	log      *slog.Logger
	stdin    func() ([]byte, error)
}

// catalog makes one without plugins, which are loaded as needed.
func (f *pluginFolders) catalog(log *slog.Logger) *catalog {
	folders := slices.DeleteFunc(filepath.SplitList(os.Getenv(pluginsVariable)),
		func(folder string) bool { return folder == "" })
	return &catalog{registry: builtin(), host: host.New(log, slices.Concat(f.flag, folders)...), log: log, stdin: f.stdin}
}

func (k *catalog) close() {
	if err := k.host.Close(); err != nil {
		k.log.Error("stop plugins", "err", err)
	}
}

// loader returns a loader of files that may use plugins, which ctx lets start.
func (k *catalog) loader(ctx context.Context) config.Loader {
	return config.Loader{
		Registry:   k.registry,
		Stdin:      k.stdin,
		Sections:   map[string]any{"plugins": &k.plugins},
		PluginsKey: "plugins",
		Prepare:    func() error { return k.loadListed(ctx) },
		Find:       func(name string) error { return k.find(ctx, name) },
	}
}

// loadListed loads the plugins that the files list.
func (k *catalog) loadListed(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(k.plugins)) {
		s := k.plugins[name]
		err := host.CheckName(name)
		if err == nil {
			err = k.add(ctx, name, s)
		}
		if err != nil {
			errs = append(errs, &bridge.KeyError{Key: "plugins." + name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// find loads the plugin in a folder that has the name of a connector, if there is one.
func (k *catalog) find(ctx context.Context, name string) error {
	s, err := k.host.Find(name)
	if errors.Is(err, host.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.add(ctx, name, s)
}

func (k *catalog) add(ctx context.Context, name string, s host.Settings) error {
	p, err := k.host.Load(ctx, name, s)
	if err != nil {
		return err
	}
	return p.Add(k.registry)
}

// loadPlugins loads the plugins that the files list, and all in the folders.
func (k *catalog) loadPlugins(ctx context.Context, files []string) error {
	if _, err := k.loader(ctx).LoadSections(files...); err != nil {
		return failure{code: exitUsage, err: err}
	}
	for _, name := range k.host.Found() {
		if _, listed := k.plugins[name]; listed {
			continue
		}
		if err := k.find(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// pluginsOf returns the plugins whose connectors a pipeline has.
func (k *catalog) pluginsOf(p *engine.Pipeline) []*host.Plugin {
	used := make(map[string]bool)
	for _, e := range p.Sources() {
		used[e.Type] = true
	}
	for _, e := range steps(p) {
		used[e.Type] = true
	}
	for _, b := range p.Sinks() {
		used[b.Sink.Type] = true
	}
	for _, e := range deadLetters(p) {
		used[e.Type] = true
	}
	return slices.DeleteFunc(k.host.Plugins(), func(plugin *host.Plugin) bool {
		return !slices.ContainsFunc(connectorNames(plugin), func(name string) bool { return used[name] })
	})
}

// origin says in a list which plugin a connector is from.
func (k *catalog) origin(connector string) string {
	for _, p := range k.host.Plugins() {
		if slices.Contains(connectorNames(p), connector) {
			return " (plugin " + p.Name + ")"
		}
	}
	return ""
}

// warnings returns the log of commands that only print.
func (s std) warnings() *slog.Logger {
	f := logFlags{level: slog.LevelWarn}
	return f.logger(s.err)
}
