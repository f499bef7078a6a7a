package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// newReference returns a help topic: xrtcbridge help settings.
func newReference() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "What can stand in a pipeline file, beside the settings of connectors",
		Long: `Values
  a path         relative to the folder of the file, or to the home folder with ~/ in front
  a size         512, 64KiB, 100MB
  a duration     250ms, 10s, 1h30m, 7d, 2w
  ${VAR}         the environment variable; ${VAR:-default}; ${VAR:?what to do if it is unset};
                 ${file:path} is the content of a file; ${list:VAR} is what commas separate, where a
                 list is wanted; ${cred:NAME} is what LoadCredential=NAME:PATH of a systemd unit
                 hands over. --env-file FILE has more variables
  x-…            at the top, anything: a place for anchors (x-base: &base {…}), which aliases and
                 merge keys of the file stand for (<<: *base)
  {{ }}          an expression: xrtcbridge help expressions

Volumes that others share
  The folders of the state and of embedded.nats.store must belong to the bridge's user, and nobody
  else may write to them. A volume with fsGroup (Kubernetes), of OpenShift, of another user (bind
  mounts), or whose file system has no owners (CIFS, vfat, NFS with root_squash, /mnt/c of WSL)
  wants state: {dir: FOLDER, shared: true}, and the same beside store (and beside accounts of a
  registration). Then others who can write to the folder can read and change what is kept there.`,
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		w := cmd.OutOrStdout()
		fmt.Fprintln(w, cmd.Long)
		for _, part := range config.Parts() {
			showKeys(w, part.Name, part.Settings)
		}
		showKeys(w, "a file, beside these", allSections())
	})
	return cmd
}
