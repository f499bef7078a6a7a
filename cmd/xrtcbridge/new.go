package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/skeleton"
)

func newNew(s std) *cobra.Command {
	return group(&cobra.Command{
		Use:   "new",
		Short: "Write the beginnings of a plugin",
	}, newNewPlugin(s))
}

func newNewPlugin(s std) *cobra.Command {
	var language, module string
	var names []string
	for _, l := range skeleton.Languages() {
		names = append(names, l.Name)
	}
	cmd := &cobra.Command{
		Use:   "plugin NAME",
		Short: "Write a connector plugin that works, to begin with",
		Long: `plugin makes the folder NAME with a connector of that name: a source, a sink, their tests, and a
command that builds the program xrtcbridge-NAME. It prints what to do next.`,
		Example: `  xrtcbridge new plugin clock
  xrtcbridge new plugin clock --lang python`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			i := slices.Index(names, language)
			if i < 0 {
				return failure{code: exitUsage, err: fmt.Errorf("--lang %q: want %s", language, strings.Join(names, ", "))}
			}
			return writePlugin(s, args[0], skeleton.Languages()[i], module)
		},
	}
	cmd.Flags().StringVar(&language, "lang", names[0], "language: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&module, "module", "", "folder with the source of xrtcbridge to build a Go plugin with, instead of the released module; found by itself in a folder around this one")
	return cmd
}

func writePlugin(s std, dir string, l skeleton.Language, module string) error {
	name := filepath.Base(dir)
	if err := host.CheckName(name); err != nil {
		return failure{code: exitUsage, err: fmt.Errorf("a plugin cannot be called %q: %w", name, err)}
	}
	if _, taken := builtin().Lookup(name); taken {
		return failure{code: exitUsage, err: fmt.Errorf("there is a connector %q already: choose another name", name)}
	}
	p := skeleton.Plugin{Name: name, Language: l.Name}
	if l.Name == "go" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return failure{code: exitFailed, err: err}
		}
		if p.Module, err = sourceFor(abs, module); err != nil {
			return failure{code: exitUsage, err: err}
		}
		if p.Module == "" {
			if p.Version = released(); p.Version == "" {
				return failure{
					code: exitUsage, err: errors.New("this xrtcbridge was not built from a released version, so a plugin in Go cannot name one"),
					hint: "work in a folder within its source, or say where that is: --module FOLDER",
				}
			}
		}
	}
	if err := skeleton.Write(dir, p); err != nil {
		return failure{code: exitFailed, err: err}
	}
	_, err := fmt.Fprintf(s.out, `wrote %[1]s, a plugin in %[2]s; it needs %[3]s. Build it and try it:
  cd %[1]s && %[4]s
  xrtcbridge run --plugin-dir . --from %[5]s --to stdio
`, dir, l.Name, l.Needs, l.Build, name)
	return err
}

// sourceFor returns where the source of this project is, relative to the folder of a plugin: as said, or around that folder. It is
// empty if neither is the case.
func sourceFor(dir, said string) (string, error) {
	found := said
	if said == "" {
		for at := filepath.Dir(dir); ; at = filepath.Dir(at) {
			if isSource(at) {
				found = at
				break
			}
			if at == filepath.Dir(at) {
				return "", nil
			}
		}
	} else if !isSource(said) {
		return "", fmt.Errorf("--module %s: the source of xrtcbridge is not there", said)
	}
	found, err := filepath.Abs(found)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, found); err == nil && said == "" {
		return rel, nil
	}
	return found, nil
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

// released returns the version that this program was built from, empty if it was not built from a released one.
func released() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || !strings.HasPrefix(info.Main.Version, "v") || strings.HasPrefix(info.Main.Version, "v0.0.0-") || strings.Contains(info.Main.Version, "+") {
		return ""
	}
	return info.Main.Version
}
