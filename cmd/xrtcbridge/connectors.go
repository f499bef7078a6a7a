package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func newConnectors(s std, folders *pluginFolders) *cobra.Command {
	return newReferenceOf(s, folders, "connector", func(bridge.Connector) bool { return true })
}

func newSteps(s std, folders *pluginFolders) *cobra.Command {
	return newReferenceOf(s, folders, "step", func(c bridge.Connector) bool { return c.Step != nil })
}

// newReferenceOf returns the command that lists the connectors of a kind, and shows one of them.
func newReferenceOf(s std, folders *pluginFolders, kind string, of func(bridge.Connector) bool) *cobra.Command {
	var files []string
	var markdown bool
	cmd := andFiles(&cobra.Command{
		Use:   kind + "s [NAME]",
		Short: "List the " + kind + "s, or show the settings and an example of one",
		Long: kind + "s lists the " + kind + `s that are built in, and those of the plugins in
--plugin-dir and under plugins: in FILE. With NAME it shows the settings and an example of one.`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			k := folders.catalog(s.warnings())
			defer k.close()
			if names, _ := namesAndFiles(args); len(names) > 0 || k.loadPlugins(cmd.Context(), files) != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var all []string
			for _, c := range k.those(of) {
				all = append(all, c.Name+"\t"+c.Summary)
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			k := folders.catalog(s.warnings())
			defer k.close()
			files, err := config.Files(files...)
			if err != nil {
				return failure{code: exitUsage, err: err}
			}
			if err := k.loadPlugins(cmd.Context(), files); err != nil {
				return err
			}
			all := k.those(of)
			if len(args) == 0 && !markdown {
				return listConnectors(s, k, all)
			}
			var names []string
			for _, c := range all {
				names = append(names, c.Name)
			}
			if len(args) > 0 {
				at := slices.Index(names, args[0])
				if at < 0 {
					return unknown(kind, args[0], names, "there are "+strings.Join(names, ", ")+
						"; xrtcbridge help settings has what else stands in a file")
				}
				all = all[at : at+1]
			}
			if markdown {
				return writeMarkdown(s.out, all)
			}
			return showConnector(s.out, all[0])
		},
	}, &files)
	folders.add(cmd)
	cmd.Flags().BoolVar(&markdown, "markdown", false, "write a page about all, or about NAME, in Markdown")
	configFlag(cmd, cmd.Flags(), &files, "the same as FILE, whose plugins are shown, too")
	return cmd
}

// those returns the connectors of a kind.
func (k *catalog) those(of func(bridge.Connector) bool) (all []bridge.Connector) {
	for _, name := range k.registry.Names() {
		if c, _ := k.registry.Lookup(name); of(c) {
			all = append(all, c)
		}
	}
	return all
}

func listConnectors(s std, k *catalog, all []bridge.Connector) error {
	l := s.list(false, "NAME", "KINDS", "WHAT IT IS")
	for _, c := range all {
		l.row(nil, c.Name, strings.Join(kinds(c), ", "), c.Summary+k.origin(c.Name))
	}
	return l.end()
}

// kinds returns what a connector can be.
func kinds(c bridge.Connector) (all []string) {
	if c.Source != nil {
		all = append(all, "source")
	}
	if c.Step != nil {
		all = append(all, "step")
	}
	if c.Sink != nil {
		all = append(all, "sink")
	}
	return all
}

func showConnector(w io.Writer, c bridge.Connector) error {
	fmt.Fprintf(w, "%s: %s\n", c.Name, c.Summary)
	if c.Delivery != "" {
		fmt.Fprintf(w, "Delivery: %s\n", c.Delivery)
	}
	if c.Source != nil {
		showGuarantee(w, "source", c.Delivery, config.Describe(c.Source, c.Source.Settings()))
		showKeys(w, "a source", c.Source.Settings())
		if len(c.Headers) > 0 {
			fmt.Fprintf(w, "\nHeaders that it sets:\n\n  %s\n", strings.Join(c.Headers, "\n  "))
		}
	}
	if c.Step != nil {
		showKeys(w, "a step", c.Step.Settings())
	}
	if c.Sink != nil {
		showGuarantee(w, "sink", c.Delivery, config.Describe(c.Sink, c.Sink.Settings()))
		showKeys(w, "a sink", c.Sink.Settings())
	}
	_, err := fmt.Fprintf(w, "\nExample:\n\n%s", c.Example)
	return err
}

// showGuarantee says what holds as long as no setting changes it; check knows better, for a file.
func showGuarantee(w io.Writer, kind, delivery string, d bridge.Description) {
	fmt.Fprintf(w, "A %s delivers %s, by default: %s\n", kind, d.Guarantee.Level, cmp.Or(d.Guarantee.Why, delivery))
}

func showKeys(w io.Writer, of string, settings any) {
	keys := config.Keys(settings)
	if len(keys) == 0 {
		fmt.Fprintf(w, "\nThere are no settings of %s.\n", of)
		return
	}
	fmt.Fprintf(w, "\nSettings of %s:\n\n", of)
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, k := range keys {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", keyName(k, settings), keyType(k), keyDefault(k), k.Doc)
	}
	_ = t.Flush()
}

// keyName returns what is written for a key of settings.
func keyName(k config.Key, settings any) string {
	if config.Whole(settings) {
		return "(the value itself)"
	}
	return k.Name
}

// keyType says what may be given for a key.
func keyType(k config.Key) string {
	switch {
	case k.File && len(k.Enum) > 0:
		return "a path, or " + strings.Join(k.Enum, " | ")
	case k.File && k.Kind == "":
		return "a path"
	case len(k.Enum) > 0:
		return strings.Join(k.Enum, " | ")
	case k.Min != nil && k.Max != nil:
		return fmt.Sprintf("%s, %.0f to %.0f", k.Type, *k.Min, *k.Max)
	case k.Min != nil && *k.Min != 0:
		return fmt.Sprintf("%s, at least %.0f", k.Type, *k.Min)
	case k.Max != nil:
		return fmt.Sprintf("%s, at most %.0f", k.Type, *k.Max)
	}
	return k.Type
}

// keyDefault says what holds if a key is not given.
func keyDefault(k config.Key) string {
	switch {
	case k.Required:
		return "required"
	case k.Default != "":
		return "default " + k.Default
	}
	return ""
}
