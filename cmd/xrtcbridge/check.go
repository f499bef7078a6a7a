package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// defaultFile is what run and check read when no file is named.
const defaultFile = "pipelines.yaml"

func newCheck(s std, folders *pluginFolders) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "check [FILE...]",
		Aliases: []string{"validate"},
		Short:   "Check pipeline files without starting their pipelines, and say what they guarantee",
		Long: `check reads the files (default: pipelines.yaml) as run would, together, prints
every mistake with its place, and starts nothing but plugins, who know what their
settings are. It exits with 2 if there is a mistake.

Of each pipeline it says how often a message may arrive, which place decides that, and
whether messages may run in circles.`,
		RunE: func(_ *cobra.Command, files []string) error {
			k, err := folders.catalog(s.warnings())
			if err != nil {
				return err
			}
			defer k.close()
			c, err := k.load(files)
			if err != nil {
				return err
			}
			circles := loops(c.Pipelines)
			for i, p := range c.Pipelines {
				out := promised(p, c.state)
				for _, circle := range circles[i] {
					out.Warnings = append(out.Warnings, loopWarning+": "+circle)
				}
				if asJSON {
					err = printJSON(s, out)
				} else {
					err = out.write(s.out)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	return cmd
}

// loaded is what files say.
type loaded struct {
	*config.Config
	servers embedded.Settings
	state   store.Settings
}

// load reads the files, or the default one.
func (k *catalog) load(named []string) (loaded, error) {
	files := named
	if len(files) == 0 {
		files = []string{defaultFile}
	}
	var c loaded
	l := k.loader()
	l.Sections["embedded"], l.Sections["state"] = &c.servers, &c.state
	l.ServersKey = "embedded"
	var err error
	c.Config, err = l.Load(files...)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(named) == 0:
		return c, failure{
			code: exitUsage, err: err,
			hint: "name a file; or run without one: echo hello | xrtcbridge run --from stdio --to stdio",
		}
	case err != nil:
		return c, failure{code: exitUsage, err: err}
	}
	return c, nil
}
