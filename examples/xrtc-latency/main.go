// Command xrtc-latency measures how long an item takes from a set to a stream that waits for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "xrtc-latency:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("xrtc-latency", flag.ContinueOnError)
	flags.SetOutput(out)
	n := flags.Int("n", 100, "items to send")
	interval := flags.Duration("interval", 100*time.Millisecond,
		"from one item to the next; the public service allows 20 a second")
	local := flags.Bool("local", false, "measure a server inside this process instead of the one that xrtc.env names")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var config xrtc.Config
	if *local {
		s, err := xrtctest.Listen(server.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = s.Stop() }()
		config = s.Config()
	}
	c, err := xrtc.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	took, err := measure(ctx, c, *n, *interval)
	if err != nil {
		return err
	}
	slices.Sort(took)
	_, err = fmt.Fprintf(out, "%d items: least %v, median %v, 99 %% below %v, most %v\n",
		len(took), took[0], took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	return err
}

// measure sends n items, and returns how long each took to come back. One goroutine sends and another
// receives, over one session.
func measure(ctx context.Context, c *xrtc.Client, n int, interval time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for range n {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			_, err := c.Set(ctx, xrtc.Item{PortalID: "latency", Payload: strconv.FormatInt(int64(time.Since(began)), 10)})
			if err != nil {
				cancel(err)
				return
			}
		}
	}()
	var took []time.Duration
	// What an earlier run has left in the portal is older than this request.
	request := xrtc.GetRequest{Portals: []xrtc.Portal{{ID: "latency", Since: c.LoginTime()}}}
	for item, err := range c.Stream(ctx, request) {
		if err != nil {
			return nil, err
		}
		sent, err := strconv.ParseInt(item.Payload, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("somebody else sets the portal latency: %w", err)
		}
		if took = append(took, time.Since(began)-time.Duration(sent)); len(took) == n {
			return took, nil
		}
	}
	return nil, errors.Join(context.Cause(ctx), fmt.Errorf("%d of %d items arrived", len(took), n))
}
