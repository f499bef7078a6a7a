package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
)

func newDashboard(s std) *cobra.Command {
	var f runningFlags
	var open bool
	cmd := &cobra.Command{
		Use:   "dashboard [FILE...]",
		Short: "Open the page of a bridge that runs in a browser",
		Long: `dashboard prints a link to the page of the bridge that runs FILE (default: pipelines.yaml), and opens it where there is a
browser. The link lets one browser in, once, within a minute. The page stays open to that tab for 12 hours.

The bridge needs an address for that: admin: {listen: 127.0.0.1:8321} in its file. From another machine, ssh -L 8321:127.0.0.1:8321
leads there.`,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&open, "open", isTerminal(s.data), "open it, too; the default where standard output is a terminal")
	return f.asks(cmd, s, true, func(ctx context.Context, c *admin.Client, _ []string) error {
		var link struct{ URL string }
		if err := c.Ask(ctx, http.MethodPost, "/links", nil, &link); err != nil {
			return err
		}
		fmt.Fprintln(s.out, link.URL)
		if open {
			if err := browse(ctx, c.Place, link.URL); err != nil {
				fmt.Fprintf(s.err, "no browser was opened: %v\n", err)
			}
		}
		return nil
	})
}

// browse opens a link. What programs are started with, all users of the machine can see, so that
// the link goes by a file that only this one can read.
func browse(ctx context.Context, at admin.Place, link string) error {
	folder, err := at.Folder.Open()
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	const name = "dashboard.html"
	file, err := folder.OpenFile(name, true)
	if err != nil {
		return err
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(file,
			`<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=%s">`, html.EscapeString(link))
	}
	if failed := file.Close(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	path := "file://" + at.Sibling(name)
	words := []string{"xdg-open", path}
	switch runtime.GOOS {
	case "darwin":
		words[0] = "open"
	case "windows":
		words = []string{"rundll32", "url.dll,FileProtocolHandler", path}
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return errors.New("there is no display")
		}
	}
	return exec.CommandContext(ctx, words[0], words[1:]...).Run()
}
