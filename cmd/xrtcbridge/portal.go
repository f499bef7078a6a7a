package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
)

// portalFlags are those of all portal commands.
type portalFlags struct {
	url     string
	envFile string
}

// itemFlags are those of a command that gets items.
type itemFlags struct {
	*portalFlags
	schedule string
	cutoff   time.Duration
	json     bool
	limit    time.Duration
}

func newPortal(s std) *cobra.Command {
	f := new(portalFlags)
	cmd := &cobra.Command{
		Use:   "portal",
		Short: "Set and get items of portals",
		Long: `portal talks to a portal server. Account and key come from ACCOUNT_ID and API_KEY in the environment or in the
file xrtc.env, the address from --url, or from LOGIN_URL, SET_URL and GET_URL there; the default is the public service.`,
		Example: `  echo 21.5 | xrtcbridge portal set kitchen
  xrtcbridge portal get
  xrtcbridge portal stream kitchen hall --schedule FIFO --json`,
	}
	cmd.PersistentFlags().StringVar(&f.url, "url", "", "base URL of the server, such as http://localhost:28080")
	cmd.PersistentFlags().StringVar(&f.envFile, "env-file", "", "dotenv file to read instead of xrtc.env")
	return group(cmd, newPortalSet(s, f), newPortalGet(s, f), newPortalWatch(s, f), newPortalStream(s, f), newPortalID(s))
}

func newPortalID(s std) *cobra.Command {
	return &cobra.Command{
		Use:   "id TEXT...",
		Short: "Print the portal ids that portalid() makes of texts such as topics",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, texts []string) error {
			for _, text := range texts {
				if _, err := fmt.Fprintln(s.out, bridge.PortalID(text)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// add adds the flags to a command.
func (f *itemFlags) add(cmd *cobra.Command, schedule xrtc.Schedule) *cobra.Command {
	cmd.Flags().StringVar(&f.schedule, "schedule", string(schedule), "FIFO (oldest first) or LIFO (newest first)")
	cmd.Flags().DurationVar(&f.cutoff, "cutoff", 0, "leave out items that are older")
	cmd.Flags().BoolVar(&f.json, "json", false, "print each item as a line of JSON")
	return cmd
}

// with logs in and calls do with a context that a signal ends, or the limit if there is one.
func (f *portalFlags) with(cmd *cobra.Command, limit time.Duration, do func(context.Context, *xrtc.Client) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	c, err := xrtc.Open(ctx, xrtc.Config{BaseURL: f.url, CredentialsFile: f.envFile, ConnectionFile: f.envFile})
	if errors.Is(err, xrtc.ErrNoCredentials) {
		return failure{code: exitUsage, err: err, hint: "xrtcbridge server keys new >xrtc.env makes them for a server of your own, which --url names"}
	}
	if err == nil {
		defer func() { _ = c.Close() }()
		err = do(ctx, c)
	}
	switch {
	case err == nil || errors.As(err, new(failure)):
		return err
	case errors.Is(err, xrtc.ErrConfig), errors.Is(err, xrtc.ErrRequest), errors.Is(err, os.ErrNotExist):
		return failure{code: exitUsage, err: err}
	}
	return failure{code: exitFailed, err: err}
}

func newPortalSet(s std, f *portalFlags) *cobra.Command {
	var byLine bool
	cmd := &cobra.Command{
		Use:   "set PORTAL [PAYLOAD]",
		Short: "Put an item into a portal",
		Long: `set puts PAYLOAD into the portal, or what standard input holds, without its last line end. With --lines each line of
standard input is an item, sent as it comes.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if byLine && len(args) == 2 {
				return failure{code: exitUsage, err: errors.New("--lines reads standard input, and there is a payload")}
			}
			return f.with(cmd, 0, func(ctx context.Context, c *xrtc.Client) error {
				switch {
				case byLine:
					return setLines(ctx, c, args[0], s.in)
				case len(args) == 2:
					_, err := c.Set(ctx, xrtc.Item{PortalID: args[0], Payload: args[1]})
					return err
				}
				payload, err := io.ReadAll(io.LimitReader(s.in, xrtc.RequestSizeMax+1))
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				payload = bytes.TrimSuffix(bytes.TrimSuffix(payload, []byte("\n")), []byte("\r"))
				_, err = c.Set(ctx, xrtc.Item{PortalID: args[0], Payload: string(payload)})
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&byLine, "lines", false, "each line of standard input is an item")
	return cmd
}

// setLines sets the lines of in, as many in a request as are there and have room.
func setLines(ctx context.Context, c *xrtc.Client, portal string, in io.Reader) error {
	lines, failed := make(chan string, 1000), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 2*xrtc.RequestSizeMax)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	most := c.Limits().PayloadSizeMax
	var p xrtc.Pack
	for line := range lines {
		for more := true; more; {
			p.Reset()
			for more && p.Len() < 1000 && p.Add(portal, []byte(line), most) {
				select {
				case line, more = <-lines:
				default:
					more = false
				}
			}
			if p.Len() == 0 {
				_, err := c.Set(ctx, xrtc.Item{PortalID: portal, Payload: line}) // which says what is wrong
				if err != nil {
					return err
				}
				break
			}
			if _, err := c.SetEncoded(ctx, p.Body()); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := <-failed; err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

func newPortalGet(s std, common *portalFlags) *cobra.Command {
	f := &itemFlags{portalFlags: common}
	return f.add(&cobra.Command{
		Use:   "get [PORTAL...]",
		Short: "Print the items of portals, or the latest of each portal",
		Long: `get prints the items that the server holds in the portals. Without a portal it prints the latest item of
every portal of the account.

With LIFO, the default, an answer has the newest items, 64 kB of them at most, and older ones that do not fit
are passed over; --schedule FIFO prints all. Each command has a session of its own, so that what one has printed another prints again.`,
		RunE: func(cmd *cobra.Command, portals []string) error {
			return f.with(cmd, f.limit, func(ctx context.Context, c *xrtc.Client) error {
				p := f.printer(s, portals)
				r := f.request(portals)
				for {
					items, err := c.Get(ctx, r)
					if err != nil {
						return err
					}
					for i := range items {
						if err := p.print(&items[i]); err != nil {
							return err
						}
					}
					// FIFO leaves for the next answer what did not fit.
					if len(items) == 0 || len(portals) == 0 || r.Schedule != xrtc.FIFO {
						return nil
					}
				}
			})
		},
	}, xrtc.LIFO)
}

func newPortalWatch(s std, common *portalFlags) *cobra.Command {
	f := &itemFlags{portalFlags: common}
	cmd := f.add(&cobra.Command{
		Use:   "watch PORTAL...",
		Short: "Wait until portals have items, and print them",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, portals []string) error {
			return f.stream(cmd, s, portals, xrtc.Watch)
		},
	}, xrtc.LIFO)
	cmd.Flags().DurationVar(&f.limit, "for", 0, "wait no longer than this")
	return cmd
}

func newPortalStream(s std, common *portalFlags) *cobra.Command {
	f := &itemFlags{portalFlags: common}
	cmd := f.add(&cobra.Command{
		Use:   "stream PORTAL...",
		Short: "Print the items of portals as they come",
		Long: `stream prints the items that the server holds in the portals, and those that come, until a signal comes. It goes on over
restarts of the server.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, portals []string) error {
			return f.stream(cmd, s, portals, xrtc.Stream)
		},
	}, xrtc.FIFO)
	cmd.Flags().DurationVar(&f.limit, "for", 0, "stop after this time")
	return cmd
}

func (f *itemFlags) stream(cmd *cobra.Command, s std, portals []string, mode xrtc.Mode) error {
	return f.with(cmd, f.limit, func(ctx context.Context, c *xrtc.Client) error {
		p := f.printer(s, portals)
		r := f.request(portals)
		r.Mode = mode
		for items, err := range c.StreamBatches(ctx, r) {
			switch {
			case err != nil && mode == xrtc.Stream && xrtc.IsTemporary(err):
				fmt.Fprintf(s.err, "xrtcbridge: %v; trying again\n", err)
				continue
			case err != nil:
				return err
			}
			for i := range items {
				if err := p.print(&items[i]); err != nil {
					return err
				}
			}
			if mode == xrtc.Watch {
				return nil
			}
		}
		if mode == xrtc.Watch && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("nothing came in %v", f.limit)
		}
		return nil
	})
}

func (f *itemFlags) request(portals []string) xrtc.GetRequest {
	return xrtc.GetRequest{Portals: xrtc.Portals(portals...), Schedule: xrtc.Schedule(f.schedule), MaxAge: f.cutoff}
}

// itemPrinter prints items: as JSON, or the payload, behind the portal id unless just one portal was asked for.
type itemPrinter struct {
	to   io.Writer
	json bool
	one  bool
}

func (f *itemFlags) printer(s std, portals []string) itemPrinter {
	return itemPrinter{to: s.out, json: f.json, one: len(portals) == 1}
}

func (p itemPrinter) print(it *xrtc.Item) (err error) {
	switch {
	case p.json:
		e := json.NewEncoder(p.to)
		e.SetEscapeHTML(false)
		err = e.Encode(struct {
			PortalID  string `json:"portalid"`
			Payload   string `json:"payload"`
			Timestamp int64  `json:"servertimestamp"`
		}{it.PortalID, it.Payload, it.Time.UnixMilli()})
	case p.one:
		_, err = fmt.Fprintln(p.to, it.Payload)
	default:
		_, err = fmt.Fprintf(p.to, "%s\t%s\n", it.PortalID, it.Payload)
	}
	if err != nil {
		return fmt.Errorf("print item: %w", err)
	}
	return nil
}
