package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan returns the command that packages are built with.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write man pages",
		Long:   "man writes a man page of each command into a folder, which it makes.",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the folder of the man pages: %w", err)
			}
			root := cmd.Root()
			forMan(root)
			b := readBuild()
			built := b.time
			if built.IsZero() {
				built = time.Unix(0, 0) // the same from the same source
			}
			header := &doc.GenManHeader{Source: "XRTC Bridge " + b.version, Manual: "XRTC Bridge", Date: &built}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		},
	}
}

var markup = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#|~]")

// forMan makes the markdown of the help of cmd and all below it that it is read as.
func forMan(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	paragraphs := strings.Split(cmd.Long, "\n\n")
	for i, p := range paragraphs {
		if strings.Contains("\n"+p, "\n ") { // a table, or something to type
			paragraphs[i] = "    " + strings.ReplaceAll(p, "\n", "\n    ")
		} else {
			paragraphs[i] = markup.ReplaceAllString(p, `\$0`)
		}
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
	for _, c := range cmd.Commands() {
		forMan(c)
	}
}
