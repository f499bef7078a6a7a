package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
)

// portalFlags are those of all portal commands.
type portalFlags struct {
	log     logFlags
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
		Long: `portal talks to a portal server. Account and key come from ACCOUNT_ID and API_KEY in the
environment or in the file xrtc.env, the address from --url, or from LOGIN_URL, SET_URL and
GET_URL there; the default is the public service. Addresses in xrtc.env are for account and key
of that file only, and it must be nobody else's to write.`,
		Example: `  echo 21.5 | xrtcbridge portal set kitchen
  xrtcbridge portal get
  xrtcbridge portal stream kitchen hall --schedule FIFO --json`,
	}
	talking := []*cobra.Command{newPortalSet(s, f), newPortalGet(s, f), newPortalWatch(s, f), newPortalStream(s, f)}
	for _, c := range talking {
		f.log.add(c)
		c.Flags().StringVar(&f.url, "url", "", "base URL of the server, such as http://localhost:28080")
		c.Flags().StringVar(&f.envFile, "env-file", "", "dotenv file to read instead of xrtc.env")
	}
	return group(cmd, append(talking, newPortalID(s))...)
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
func (f *itemFlags) add(cmd *cobra.Command, s std, schedule xrtc.Schedule) *cobra.Command {
	cmd.Flags().StringVar(&f.schedule, "schedule", string(schedule), "FIFO (oldest first) or LIFO (newest first)")
	durationFlag(cmd.Flags(), &f.cutoff, "cutoff", "leave out items that are older than this `duration`")
	oneOf(cmd, "schedule", "FIFO", "LIFO")
	cmd.Flags().BoolVar(&f.json, "json", false, "print each item as a line of JSON")
	return s.rawFlag(cmd)
}

// with logs in and calls do with a context that a signal ends, or the limit if there is one.
func (f *portalFlags) with(cmd *cobra.Command, s std, limit time.Duration, do func(context.Context, *xrtc.Client) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(limit, forever))
	defer cancel()
	log := f.log.logger(s.err)
	c, err := xrtc.Open(ctx,
		xrtc.Config{BaseURL: f.url, CredentialsFile: f.envFile, ConnectionFile: f.envFile, Logger: log})
	if errors.Is(err, xrtc.ErrNoCredentials) {
		return failure{
			code: exitUsage, err: err,
			hint: "xrtcbridge server keys new --out xrtc.env makes them for a server of your own, which --url names",
		}
	}
	if err == nil {
		defer func() { _ = c.Close() }()
		err = do(ctx, c)
	}
	switch {
	case err == nil || errors.As(err, new(failure)):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, ctx.Err()): // at the login, say
		return fmt.Errorf("nothing came in %v: %w", limit, err)
	case errors.Is(err, xrtc.ErrConfig), errors.Is(err, xrtc.ErrRequest), errors.Is(err, os.ErrNotExist):
		return failure{code: exitUsage, err: err}
	}
	return err
}

func newPortalSet(s std, f *portalFlags) *cobra.Command {
	var byLine bool
	cmd := &cobra.Command{
		Use:   "set PORTAL [PAYLOAD]",
		Short: "Put an item into a portal",
		Long: `set puts PAYLOAD into the portal, or what standard input holds, without its last line end. With
--lines each line of standard input is an item, sent as it comes; one that can be none is
refused with its number, and the others are set.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if byLine && len(args) == 2 {
				return failure{code: exitUsage, err: errors.New("--lines reads standard input, and there is a payload")}
			}
			return f.with(cmd, s, 0, func(ctx context.Context, c *xrtc.Client) error {
				switch {
				case byLine:
					return setLines(ctx, c, args[0], s)
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

// setLines sets the lines of standard input, as many in a request as are there and have room. It
// says which can be no items.
func setLines(ctx context.Context, c *xrtc.Client, portal string, s std) error {
	if err := xrtc.CheckItem(portal, nil); err != nil {
		return err
	}
	lines, failed := make(chan string, 1000), make(chan error, 1)
	most := min(c.Limits().PayloadSizeMax, xrtc.RequestSizeMax)
	refused := 0
	go func() {
		defer close(lines)
		failed <- eachLine(s.in, func(number int, line []byte, whole bool) bool {
			err := xrtc.CheckItem(portal, line)
			if size := xrtc.SizeOf(portal, line); err == nil && (!whole || size > most) {
				err = fmt.Errorf("it makes a request of %d bytes or more, and %d are the most", size, most)
			}
			if err != nil {
				fmt.Fprintf(s.err, "xrtcbridge: line %d: %v\n", number, err)
				refused++
				return true
			}
			select {
			case lines <- string(line):
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
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
	if refused > 0 {
		return fmt.Errorf("lines that were refused: %d; the others are set", refused)
	}
	return nil
}

// eachLine calls each with the lines of in, which end before a \n or \r\n, until it returns false.
// Of a line longer than any request there is the beginning only.
func eachLine(in io.Reader, each func(number int, line []byte, whole bool) bool) error {
	r := bufio.NewReaderSize(in, 2*xrtc.RequestSizeMax)
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		if len(line) > 0 && !each(number, bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), whole) {
			return nil
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func newPortalGet(s std, common *portalFlags) *cobra.Command {
	f := &itemFlags{portalFlags: common}
	return f.add(&cobra.Command{
		Use:   "get [PORTAL...]",
		Short: "Print the items of portals, or the latest of each portal",
		Long: `get prints the items that the server holds in the portals. Without a portal it prints the latest item of
every portal of the account.

Each command has a session of its own, so that what one has printed another prints again.`,
		RunE: func(cmd *cobra.Command, portals []string) error {
			return f.with(cmd, s, f.limit, func(ctx context.Context, c *xrtc.Client) error {
				items, err := f.get(ctx, c, portals)
				if err := f.print(s, portals, items); err != nil {
					return err
				}
				if err == nil && len(portals) == 0 && mayLack(items, c.Limits()) {
					fmt.Fprintf(s.err, "xrtcbridge: the answer is full, and the server may have left out portals; "+
						"name them to get them\n")
				}
				if err != nil {
					return err
				}
				return empty(ctx, c, portals, items)
			})
		},
	}, s, xrtc.LIFO)
}

// empty returns an error for the first of the named portals that has no item, be it one above
// --cutoff: it may be misspelt.
func empty(ctx context.Context, c *xrtc.Client, portals []string, items []xrtc.Item) error {
	var known []string
	add := func(items []xrtc.Item) {
		for i := range items {
			known = append(known, items[i].PortalID)
		}
	}
	strange := func(name string) bool { return !slices.Contains(known, name) }
	if add(items); !slices.ContainsFunc(portals, strange) {
		return nil
	}
	latest, _ := c.Get(ctx, xrtc.GetRequest{}) // without them there is no hint
	add(latest)
	at := slices.IndexFunc(portals, strange)
	if at < 0 {
		return nil
	}
	f := unknown("item in portal", portals[at], known, "xrtcbridge portal get shows all portals that have one")
	f.code = exitFailed // it may have been there
	return f
}

// mayLack reports whether a server whose latest items these are may have had no room for others.
func mayLack(items []xrtc.Item, l xrtc.Limits) bool {
	size, largest := 0, 0
	for i := range items {
		n := xrtc.SizeOf(items[i].PortalID, []byte(items[i].Payload))
		size, largest = size+n, max(largest, n)
	}
	return !l.Announced && size+largest > l.PayloadSizeMax
}

// get returns the items that the portals held at the login: oldest first the server leaves for the
// next answer what one has no room for.
func (f *itemFlags) get(ctx context.Context, c *xrtc.Client, portals []string) (all []xrtc.Item, err error) {
	r := f.request(portals)
	if len(portals) == 0 || r.Schedule != xrtc.LIFO && r.Schedule != xrtc.FIFO {
		return c.Get(ctx, r)
	}
	newestFirst := r.Schedule == xrtc.LIFO
	r.Schedule = xrtc.FIFO
	for items := []xrtc.Item{{}}; err == nil && len(items) > 0 &&
		!items[len(items)-1].Time.After(c.LoginTime()); all = append(all, items...) {
		items, err = c.Get(ctx, r)
	}
	if newestFirst {
		slices.Reverse(all)
	}
	return all, err
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
	}, s, xrtc.LIFO)
	durationFlag(cmd.Flags(), &f.limit, "for", "wait no longer than this `duration`")
	return cmd
}

func newPortalStream(s std, common *portalFlags) *cobra.Command {
	f := &itemFlags{portalFlags: common}
	cmd := f.add(&cobra.Command{
		Use:   "stream PORTAL...",
		Short: "Print the items of portals as they come",
		Long: `stream prints the items that the server holds in the portals, and those that come, until a
signal comes. It goes on over restarts of the server.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, portals []string) error {
			return f.stream(cmd, s, portals, xrtc.Stream)
		},
	}, s, xrtc.FIFO)
	durationFlag(cmd.Flags(), &f.limit, "for", "stop after this `duration`")
	return cmd
}

func (f *itemFlags) stream(cmd *cobra.Command, s std, portals []string, mode xrtc.Mode) error {
	return f.with(cmd, s, f.limit, func(ctx context.Context, c *xrtc.Client) error {
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
			if err := f.print(s, portals, items); err != nil {
				return err
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

// print prints items: as JSON, or the payload, behind the portal id unless just one portal was
// asked for.
func (f *itemFlags) print(s std, portals []string, items []xrtc.Item) (err error) {
	for i := range items {
		switch it := &items[i]; {
		case f.json:
			err = printJSON(s, struct {
				PortalID  string `json:"portalid"`
				Payload   string `json:"payload"`
				Timestamp int64  `json:"servertimestamp"`
			}{it.PortalID, it.Payload, it.Time.UnixMilli()})
		case len(portals) == 1:
			_, err = fmt.Fprintln(s.out, it.Payload)
		default:
			_, err = fmt.Fprintf(s.out, "%s\t%s\n", it.PortalID, it.Payload)
		}
		if err != nil {
			return fmt.Errorf("print item: %w", err)
		}
	}
	return nil
}
