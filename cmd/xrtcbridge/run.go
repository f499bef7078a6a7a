package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// forever is longer than any run.
const forever = 100 * 365 * 24 * time.Hour

// How long connectors and servers have to let go: after a second signal, and after the time for
// draining.
const (
	abortGrace = time.Second
	closeGrace = 20 * time.Second
)

type runFlags struct {
	log      logFlags
	from, to string
	limit    time.Duration
}

func newRun(s std, folders *pluginFolders) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE...]",
		Short: "Run pipelines",
		Long: `run reads the files (default: pipelines.yaml) and runs their pipelines until all
inputs are finished, or a signal comes. SIGINT, SIGTERM or SIGHUP stops reading and
delivers what has been read; a second one cuts that short.

With --from and --to it runs one pipeline and reads no file. At the end a ledger says what became of every message.`,
		Example: `  xrtcbridge run
  xrtcbridge run sensors.yaml mirror.yaml
  echo hello | xrtcbridge run --from stdio --to stdio
  xrtcbridge run --from file,path=in.log --to mqtt,url=mqtt://localhost:1883,topic=log`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if f.from != "" && !cmd.Flags().Changed("log-level") {
				f.log.level = slog.LevelWarn // one pipeline on a command line: lifecycle is noise
			}
			if (f.from == "") != (f.to == "") {
				return failure{
					code: exitUsage, err: errors.New("--from and --to go together"),
					hint: "stdio reads standard input and writes standard output: --from stdio --to stdio",
				}
			}
			return run(cmd.Context(), s, folders, files, f)
		},
	}
	f.log.add(cmd.Flags())
	cmd.Flags().StringVar(&f.from, "from", "", "source of a pipeline without a file: TYPE[,key=value...]")
	cmd.Flags().StringVar(&f.to, "to", "", "sink of a pipeline without a file: TYPE[,key=value...]")
	cmd.Flags().DurationVar(&f.limit, "for", 0, "stop after this time, as a signal would")
	return cmd
}

func run(ctx context.Context, s std, folders *pluginFolders, files []string, f runFlags) error {
	screen := &screen{to: s.err}
	log, err := f.log.logger(screen)
	if err != nil {
		return err
	}
	k, err := folders.catalog(log)
	if err != nil {
		return err
	}
	defer k.close()
	c, err := f.load(k, files)
	if err != nil {
		return err
	}
	ctx, abort, stop := f.untilSignal(ctx, log, longestDrain(c.Pipelines))
	defer stop()

	for i, circles := range loops(c.Pipelines) {
		for _, circle := range circles {
			log.Warn(loopWarning, "pipeline", c.Pipelines[i].Name, "circle", circle)
		}
	}
	server, err := startEmbedded(ctx, c.servers, log)
	if err != nil {
		return failure{code: exitFailed, err: err}
	}
	defer func() {
		if err := server.Close(); err != nil {
			log.Error("stop embedded servers", "err", err)
		}
	}()

	state := store.New(c.state, log)
	defer func() {
		if err := state.Close(); err != nil {
			log.Error("close the state", "err", err)
		}
	}()
	if f.from == "" {
		for _, p := range c.Pipelines {
			p.State = state
		}
	}

	b := &bridge.Bridge{
		Pipelines: c.Pipelines, FailFast: c.FailFast,
		Logger: log, Stdin: s.in, Stdout: s.out, Abort: abort,
	}
	hide := f.showProgress(s, screen, b)
	err = b.Run(ctx)
	if len(b.Pipelines) == 0 {
		<-ctx.Done() // the servers are what is wanted
	}
	hide()
	err = cmp.Or(howFar(err, b.Pipelines), f.printLedger(s.err, log, b.Pipelines))
	if err != nil && f.log.format == "json" {
		log.Error("run failed", "err", err, "hint", hintFor(err))
		return failure{code: exitFailed}
	}
	if err != nil {
		return failure{code: exitFailed, err: err, hint: hintFor(err)}
	}
	return nil
}

// startEmbedded starts servers. A command that has their store for a moment is waited for.
func startEmbedded(ctx context.Context, set embedded.Settings, log *slog.Logger) (*embedded.Server, error) {
	for {
		server, err := embedded.Start(ctx, set, log)
		used, ok := errors.AsType[*embedded.InUseError](err)
		if !ok || !used.Visitor {
			return server, err
		}
		log.Warn("waiting for a command that uses the store", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return server, err
		}
	}
}

// howFar adds to err how much of an input was read that has an end which was not reached: a copy
// cut short must not look like one that is complete.
func howFar(err error, pipelines []*bridge.Pipeline) error {
	if !errors.Is(err, bridge.ErrCut) {
		return err
	}
	for _, p := range pipelines {
		if read, total := p.Progress(); read < total {
			err = errors.Join(err, fmt.Errorf("pipeline %q: %d of %d bytes have been read", p.Name, read, total))
		}
	}
	return err
}

func (f runFlags) load(k *catalog, files []string) (loaded, error) {
	if f.from == "" && f.to == "" {
		return k.load(files)
	}
	if len(files) > 0 {
		return loaded{}, failure{code: exitUsage, err: errors.New("--from and --to go without files")}
	}
	c, err := k.loader().Inline(f.from, f.to)
	if err != nil {
		return loaded{}, failure{code: exitUsage, err: err, hint: "xrtcbridge connectors NAME shows the settings of a connector"}
	}
	return loaded{Config: c}, nil
}

func longestDrain(pipelines []*bridge.Pipeline) (longest time.Duration) {
	for _, p := range pipelines {
		longest = max(longest, cmp.Or(p.DrainTimeout, bridge.DefaultDrainTimeout))
	}
	return min(longest, forever)
}

// stopSignals returns the signals that ask for a stop. The end of the terminal is none where it is
// ignored, as under nohup.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// untilSignal returns a context that is done at the first signal or after
// --for, and a channel that is closed at the second signal. A connector that does not let go
// even then, or long after the drain, must not hold the process.
func (f runFlags) untilSignal(ctx context.Context, log *slog.Logger, drain time.Duration) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(cmp.Or(f.limit, forever), cancel)
	abort, done := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals()...)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case sig := <-signals:
			log.Warn("stopping: delivering what has been read, a second signal cuts it short", "signal", sig.String())
			cancel()
		case <-ctx.Done():
		case <-done:
			return
		}
		late := time.NewTimer(drain + closeGrace)
		defer late.Stop()
		for second := signals; ; {
			select {
			case <-second:
				log.Warn("stopping at once")
				close(abort)
				late.Reset(abortGrace)
				second = nil
			case <-late.C:
				log.Error("a connector does not stop, giving up")
				os.Exit(exitFailed)
			case <-done:
				return
			}
		}
	})
	return ctx, abort, func() {
		signal.Stop(signals)
		limit.Stop()
		close(done)
		cancel()
		watching.Wait()
	}
}

func hintFor(err error) string {
	switch {
	case errors.Is(err, bridge.ErrNeverConnected):
		return "see that the address is right and that somebody answers there; the log says what was tried"
	case errors.Is(err, bridge.ErrCut):
		return "a new run reads the input from its beginning, and file sinks append"
	case errors.Is(err, bridge.ErrNotDrained):
		return "what was not delivered comes again after a restart if its source can; drain_timeout in the file gives more time"
	}
	return ""
}

var errUnbalanced = errors.New("the ledger does not balance: this is a bug in xrtcbridge, please report it with the table above")
