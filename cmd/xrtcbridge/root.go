package main

import (
	"github.com/spf13/cobra"
)

func newRoot(s std) *cobra.Command {
	root := &cobra.Command{
		Use:   "xrtcbridge",
		Short: "Moves messages between systems, as a YAML file says",
		Long: `xrtcbridge moves messages between systems: MQTT, NATS, XRTC portals, files, standard
input and output. A YAML file names pipelines; each takes messages from sources,
passes them through steps and delivers them to sinks.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	folders := new(pluginFolders)
	root.AddCommand(newRun(s, folders), newCheck(s, folders), newConnectors(s, folders), newPlugins(s, folders), newNew(s),
		newServer(s), newPortal(s), newVersion(s), newExpressions())
	folders.add(root)
	return root
}
