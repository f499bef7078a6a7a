package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func newConnectors(s std, folders *pluginFolders) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "connectors [NAME]",
		Short: "List the connectors, or show the settings and an example of one",
		Long: `connectors lists the connectors that are built in, and those of the plugins in
--plugin-dir and under plugins: in --file. With NAME it shows the settings and an example of one.`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return builtin().Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := folders.catalog(s.warnings())
			if err != nil {
				return err
			}
			defer k.close()
			if err := k.loadPlugins(cmd.Context(), files); err != nil {
				return err
			}
			if len(args) == 0 {
				return listConnectors(s.out, k)
			}
			c, ok := k.registry.Lookup(args[0])
			if !ok {
				return failure{
					code: exitUsage,
					err:  fmt.Errorf("there is no connector %q", args[0]),
					hint: "there are " + strings.Join(k.registry.Names(), ", "),
				}
			}
			return showConnector(s.out, c)
		},
	}
	cmd.Flags().StringArrayVar(&files, "file", nil, "a pipeline file whose plugins are shown, too; repeatable")
	return cmd
}

func listConnectors(w io.Writer, k *catalog) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tKINDS\tWHAT IT IS")
	for _, name := range k.registry.Names() {
		c, _ := k.registry.Lookup(name)
		var kinds []string
		if c.Source != nil {
			kinds = append(kinds, "source")
		}
		if c.Step != nil {
			kinds = append(kinds, "step")
		}
		if c.Sink != nil {
			kinds = append(kinds, "sink")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, strings.Join(kinds, ", "), c.Summary+k.origin(name))
	}
	return t.Flush()
}

func showConnector(w io.Writer, c bridge.Connector) error {
	fmt.Fprintf(w, "%s: %s\n", c.Name, c.Summary)
	if c.Delivery != "" {
		fmt.Fprintf(w, "Delivery: %s\n", c.Delivery)
	}
	if c.Source != nil {
		if err := showKeys(w, "source", c.Source.Settings()); err != nil {
			return err
		}
	}
	if c.Step != nil {
		if err := showKeys(w, "step", c.Step.Settings()); err != nil {
			return err
		}
	}
	if c.Sink != nil {
		if err := showKeys(w, "sink", c.Sink.Settings()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\nExample:\n\n%s", c.Example)
	return err
}

func showKeys(w io.Writer, kind string, settings any) error {
	keys := config.Keys(settings)
	if len(keys) == 0 {
		_, err := fmt.Fprintf(w, "\nA %s has no settings.\n", kind)
		return err
	}
	fmt.Fprintf(w, "\nSettings of a %s:\n\n", kind)
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, k := range keys {
		note := k.Default
		switch {
		case k.Required:
			note = "required"
		case note != "":
			note = "default " + note
		}
		if len(k.Enum) > 0 {
			k.Type = strings.Join(k.Enum, " | ")
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", k.Name, k.Type, note)
	}
	return t.Flush()
}
