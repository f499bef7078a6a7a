package main

import (
	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
)

// sections are what stands at the top of a file beside pipelines and what they share.
type sections struct {
	Plugins  map[string]host.Settings `yaml:"plugins" doc:"programs with connectors, by a name of your choice"`
	Embedded embedded.Settings        `yaml:"embedded" doc:"servers inside the process"`
	State    store.Settings           `yaml:"state" doc:"what is kept beyond the life of the process"`
	Admin    *admin.Settings          `yaml:"admin" doc:"where the bridge answers besides its socket: the page, metrics, what commands ask"`
	Log      logSettings              `yaml:"log" doc:"what is said in the log"`

	Telemetry metrics.Telemetry `yaml:"telemetry" doc:"whom the bridge tells its metrics by itself"`
}

// allSections returns them with their defaults.
func allSections() *sections { return &sections{Log: defaultLog()} }

func newSchema(s std, folders *pluginFolders) *cobra.Command {
	cmd := takesFiles(&cobra.Command{
		Use:   "schema [FILE...]",
		Short: "Print a JSON Schema of pipeline files, for editors",
		Long: `schema prints a JSON Schema (draft 2020-12) of pipeline files, with the connectors that are built
in, and those of the plugins in --plugin-dir and under plugins: in the files. Write it once, and
name it in the first line of a file, for editors that know yaml-language-server (VS Code, Neovim,
Helix, Emacs, JetBrains by the setting JSON Schema Mappings):

  # yaml-language-server: $schema=pipelines.schema.json

check finds more than a schema can: expressions, addresses, and how settings go together.`,
		Example: `  xrtcbridge schema > pipelines.schema.json
  xrtcbridge schema --plugin-dir plugins pipelines.yaml > pipelines.schema.json`,
	}, func(cmd *cobra.Command, files []string) error {
		k := folders.catalog(s.warnings())
		defer k.close()
		if err := k.loadPlugins(cmd.Context(), files); err != nil {
			return err
		}
		text, err := k.loader(cmd.Context()).Schema(allSections())
		if err == nil {
			_, err = s.out.Write(text)
		}
		return err
	})
	folders.add(cmd)
	return cmd
}
