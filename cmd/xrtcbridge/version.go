package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

func newVersion(s std) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			source := ""
			if b.commit != "" {
				source = fmt.Sprintf(" (commit %s of %s)", b.commit, b.time.Format(time.RFC3339))
			}
			_, err := fmt.Fprintf(s.out, "xrtcbridge %s %s %s/%s%s\n", b.version, runtime.Version(), runtime.GOOS,
				runtime.GOARCH, source)
			return err
		},
	}
}

// version is that of [buildInfo].
func version() string { return readBuild().version }

// buildInfo is what the Go command has noted of the source.
type buildInfo struct {
	version string    // the tag, or what Go makes of the commit; devel if it has built without a repository
	commit  string    // 12 digits, with + if files were changed; empty: not known
	time    time.Time // of the commit
}

func readBuild() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildInfo{version: "unknown"}
	}
	b := buildInfo{version: info.Main.Version}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value[:min(12, len(s.Value))] + b.commit
		case "vcs.modified":
			if s.Value == "true" {
				b.commit += "+"
			}
		case "vcs.time":
			b.time, _ = time.Parse(time.RFC3339, s.Value)
		}
	}
	if b.version == "" || b.version == "(devel)" {
		b.version = "devel"
		if b.commit != "" {
			b.version += "-" + b.commit
		}
	}
	return b
}
