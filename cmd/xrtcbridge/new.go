package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/skeleton"
)

func newNew(s std, folders *pluginFolders) *cobra.Command {
	return group(&cobra.Command{
		Use:   "new",
		Short: "Write the beginnings of a plugin or of a pipeline file",
	}, newNewPlugin(s), newNewPipeline(s, folders))
}

func newNewPlugin(s std) *cobra.Command {
	var language, module string
	var names, kinds []string
	for _, l := range skeleton.Languages() {
		names = append(names, l.Name)
	}
	cmd := &cobra.Command{
		Use:   "plugin NAME",
		Short: "Write a connector plugin that works, to begin with",
		Long: `plugin makes the folder NAME with a connector of that name: a source, a step, a sink, or several
of them, their tests, and a command that builds the program xrtcbridge-NAME. It prints what to
do next.`,
		Example: `  xrtcbridge new plugin clock
  xrtcbridge new plugin clock --lang python --kind step`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, kind := range kinds {
				if !slices.Contains(skeleton.Kinds(), kind) {
					return failure{
						code: exitUsage,
						err:  fmt.Errorf("--kind %q: want %s, or several of them", kind, strings.Join(skeleton.Kinds(), ", ")),
					}
				}
			}
			return writePlugin(s, args[0], skeleton.Languages()[max(0, slices.Index(names, language))], kinds, module)
		},
	}
	wordFlag(cmd, &language, "lang", "`language`: "+strings.Join(names, ", ")+" (default "+names[0]+")", names...)
	cmd.Flags().StringSliceVar(&kinds, "kind", []string{"source", "sink"},
		"what the connector can be: "+strings.Join(skeleton.Kinds(), ", ")+"; repeatable")
	cmd.Flags().StringVar(&module, "module", "", "folder with the source of xrtcbridge to build a Go plugin with, "+
		"instead of the released module; found by itself around "+
		"the plugin's folder, or where this program was built")
	return cmd
}

func writePlugin(s std, dir string, l skeleton.Language, kinds []string, module string) error {
	name := filepath.Base(dir)
	if err := host.CheckName(name); err != nil {
		return failure{code: exitUsage, err: fmt.Errorf("a plugin cannot be called %q: %w", name, err)}
	}
	if _, taken := builtin().Lookup(name); taken {
		return failure{code: exitUsage, err: fmt.Errorf("there is a connector %q already: choose another name", name)}
	}
	p := skeleton.Plugin{Name: name, Language: l.Name, Kinds: kinds}
	if l.Name == "go" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if p.Module, err = sourceFor(abs, module); err != nil {
			return failure{code: exitUsage, err: err}
		}
		if p.Module == "" {
			if p.Version = released(); p.Version == "" {
				return failure{
					code: exitUsage, err: errors.New("a plugin in Go is built with the source of xrtcbridge, " +
						"which is not where this program was built, nor around the plugin's folder"),
					hint: "say where the source is: --module FOLDER",
				}
			}
		}
	}
	if err := skeleton.Write(dir, p); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out,
		"wrote %[1]s, a plugin in %[2]s; it needs %[3]s. Build it and try it:\n  cd %[1]s && %[4]s\n  %[5]s\n",
		dir, l.Name, l.Needs, l.Build, strings.Join(p.Try(), "\n  "))
	return err
}

// sourceFor returns where the source of this project is: as said, around the folder of a plugin,
// relative to that, or where this program was built. It is empty if it is nowhere.
func sourceFor(dir, said string) (string, error) {
	switch {
	case said == "":
	case !isSource(said):
		return "", fmt.Errorf("--module %s: the source of xrtcbridge is not there", said)
	default:
		return filepath.Abs(said)
	}
	for at := filepath.Dir(dir); ; at = filepath.Dir(at) {
		if isSource(at) {
			return filepath.Rel(dir, at)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	if _, file, _, _ := runtime.Caller(0); filepath.IsAbs(file) {
		if built := filepath.Join(file, "..", "..", ".."); isSource(built) {
			return built, nil
		}
	}
	return "", nil
}

// isSource reports whether a folder has the source of this project.
func isSource(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line) == "module github.com/xrtcbridge/xrtcbridge"
}

// released returns the version that this program was built from, empty if it was not built from a
// released one.
func released() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || !strings.HasPrefix(info.Main.Version, "v") || strings.HasPrefix(info.Main.Version, "v0.0.0-") ||
		strings.Contains(info.Main.Version, "+") {
		return ""
	}
	return info.Main.Version
}
