package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
)

func builtin() *bridge.Registry { return bridge.NewRegistry(tested(connectors.Builtin())...) }

// pluginFolders are where plugins are found by name.
type pluginFolders struct{ flag []string }

const pluginsVariable = "XRTCBRIDGE_PLUGINS"

func (f *pluginFolders) add(root *cobra.Command) {
	root.PersistentFlags().StringArrayVar(&f.flag, "plugin-dir", nil,
		"folder in which the connector NAME is found as the program xrtcbridge-NAME; repeatable, and "+pluginsVariable+" lists more")
}

// catalog is the connectors that pipelines may use: those that are built in, and those of plugins.
type catalog struct {
	registry *bridge.Registry
	host     *host.Host
	plugins  map[string]host.Settings // as the files say
	log      *slog.Logger
}

// catalog makes one without plugins, which are loaded as needed.
func (f *pluginFolders) catalog(log *slog.Logger) (*catalog, error) {
	for _, folder := range f.flag {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return nil, failure{code: exitUsage, err: fmt.Errorf("--plugin-dir %s: there is no such folder", folder)}
		}
	}
	folders := f.flag
	for _, folder := range filepath.SplitList(os.Getenv(pluginsVariable)) {
		if folder != "" {
			folders = append(folders, folder)
		}
	}
	return &catalog{registry: builtin(), host: host.New(log, folders...), log: log}, nil
}

func (k *catalog) close() {
	if err := k.host.Close(); err != nil {
		k.log.Error("stop plugins", "err", err)
	}
}

// loader returns a loader of files that may use plugins.
func (k *catalog) loader() config.Loader {
	return config.Loader{
		Registry:   k.registry,
		Sections:   map[string]any{"plugins": &k.plugins},
		PluginsKey: "plugins",
		Prepare:    func() error { return k.loadListed(context.Background()) },
		Find:       func(name string) error { return k.find(context.Background(), name) },
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
	if err := k.loader().LoadSections(files...); err != nil {
		return failure{code: exitUsage, err: err}
	}
	for _, name := range k.host.Found() {
		if _, listed := k.plugins[name]; listed {
			continue
		}
		if err := k.find(ctx, name); err != nil {
			return failure{code: exitFailed, err: err}
		}
	}
	return nil
}

// origin says in a list which plugin a connector is from.
func (k *catalog) origin(connector string) string {
	for _, p := range k.host.Plugins() {
		for _, c := range p.Connectors() {
			if c.Name == connector {
				return " (plugin " + p.Name + ")"
			}
		}
	}
	return ""
}

// warnings returns the log of commands that only print.
func (s std) warnings() *slog.Logger {
	f := logFlags{format: "auto", level: slog.LevelWarn}
	log, err := f.logger(s.err)
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
