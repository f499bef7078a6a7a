package main

import (
	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors"
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
	registry := bridge.NewRegistry(connectors.Builtin()...)
	root.AddCommand(newRun(s, registry), newCheck(s, registry), newConnectors(s, registry), newServer(s), newPortal(s), newVersion(s), newExpressions())
	return root
}
