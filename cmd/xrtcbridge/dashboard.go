package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
)

func newDashboard(s std) *cobra.Command {
	var f runningFlags
	var open bool
	cmd := &cobra.Command{
		Use:   "dashboard [FILE...]",
		Short: "Open the page of a bridge that runs in a browser",
		Long: `dashboard prints a link to the page of the bridge that runs FILE (default: pipelines.yaml), and
opens it where there is a browser, and ends when that has it. The link lets one browser in,
once, within a minute. The page stays open to that tab for 12 hours.

The bridge needs an address for that: admin: {listen: 127.0.0.1:8321} in its file. From another
machine, ssh -L 8321:127.0.0.1:8321 leads there.`,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&open, "open", isTerminal(s.data), "open it, too; the default where standard output is a terminal")
	return f.asks(cmd, s, 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		var link struct{ URL string }
		if err := c.Ask(ctx, http.MethodPost, "/links", nil, &link); err != nil {
			return err
		}
		fmt.Fprintln(s.out, link.URL)
		if open {
			if err := browse(ctx, c, link.URL); err != nil {
				fmt.Fprintf(s.err, "no browser was opened: %v\n", err)
			}
		}
		return nil
	})
}

// browse opens a link, and returns when it was followed or holds no more. What programs are started
// with, all users of the machine can see, so that the link goes by a file that only this one can
// read, and which is gone then.
func browse(ctx context.Context, c *admin.Client, link string) (err error) {
	if runtime.GOOS != "windows" && runtime.GOOS != "darwin" &&
		os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return errors.New("there is no display")
	}
	folder, err := os.MkdirTemp(linkFolder(c.Place), "xrtcbridge-link-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	name := filepath.Join(folder, "dashboard.html")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file,
		`<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=%s">`, html.EscapeString(link))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	words := []string{"xdg-open", "file://" + name}
	switch runtime.GOOS {
	case "darwin":
		words[0] = "open"
	case "windows":
		words = []string{"rundll32", "url.dll,FileProtocolHandler", words[1]}
	}
	opening := exec.CommandContext(context.WithoutCancel(ctx), words[0], words[1:]...) // perhaps the browser itself
	if err := opening.Start(); err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- opening.Wait() }()
	_, code, _ := strings.Cut(link, "#code=")
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-opened:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-look.C:
			if c.Ask(ctx, http.MethodGet, "/links/"+url.PathEscape(code), nil, nil) != nil {
				return nil
			}
		}
	}
}

// linkFolder returns where the file with a link goes: beside the socket, where a confined browser
// finds it sooner than in the folder for temporary files, unless others own that or share it.
func linkFolder(at admin.Place) string {
	folder, err := at.Folder.Open()
	if err != nil {
		return ""
	}
	_ = folder.Close()
	if at.Folder.Shared {
		return ""
	}
	return filepath.Dir(at.Sibling(at.Name))
}
