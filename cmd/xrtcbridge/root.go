package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// group makes cmd one that has nothing but subcommands: alone it prints its help, and another word
// is a mistake.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := cmd.CommandPath() + " --help lists its commands"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + near[0] + "?"
		}
		return failure{code: exitUsage, err: fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]), hint: hint}
	}
	return cmd
}

// refuseUnknownHelp makes help about what there is not a mistake, as the command itself is.
func refuseUnknownHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		help := cmd.Run
		cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
			if _, _, err := root.Find(args); err != nil {
				hint := "xrtcbridge help lists the commands"
				if c, known := builtin().Lookup(args[0]); known {
					hint = "xrtcbridge connectors " + args[0] + " shows its settings"
					if c.Step != nil {
						hint = "xrtcbridge steps " + args[0] + " shows its settings"
					}
				}
				return failure{code: exitUsage, err: err, hint: hint}
			}
			help(cmd, args)
			return nil
		}
	}
}

func newRoot(s std) *cobra.Command {
	root := &cobra.Command{
		Use:   "xrtcbridge",
		Short: "Moves messages between systems, as a YAML file says",
		Long: `xrtcbridge moves messages between systems: MQTT, NATS, XRTC portals, files, standard input and
output. A YAML file names pipelines; each takes messages from sources, passes them through steps
and delivers them to sinks.

Exit codes of all commands: 0 done; 1 something failed; 2 wrong arguments or configuration, and
names that there are not; 3 no bridge runs that could be asked.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	folders := &pluginFolders{stdin: s.file}
	root.AddCommand(
		newRun(s, folders), newCheck(s, folders), newTest(s, folders), newGraph(s, folders), newSchema(s, folders),
		newConnectors(s, folders), newSteps(s, folders), newPlugins(s, folders), newNew(s, folders),
		newStatus(s), newTop(s), newTap(s, folders), newReload(s), newPipeline(s), newDashboard(s),
		newBuffer(s), newDead(s, folders), newState(s, folders), newServer(s), newPortal(s),
		newVersion(s), newMan(), newExpressions(), newReference(),
	)
	refuseUnknownHelp(root)
	return root
}
