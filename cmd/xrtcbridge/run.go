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
	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
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
	steps    []string
	limit    time.Duration
	watch    bool
}

func newRun(s std, folders *pluginFolders) *cobra.Command {
	var f runFlags
	cmd := takesNames(&cobra.Command{
		Use:   "run [FILE...]",
		Short: "Run pipelines",
		Long: `run reads the files (default: pipelines.yaml) and runs their pipelines until all inputs are
finished, or a signal comes. SIGINT or SIGTERM stops reading and delivers what has been read, as
the end of its terminal does; a second one cuts that short.

SIGHUP, xrtcbridge reload and, with --watch, a change of the files, or of secrets, certificates
and the like that they name, make it run what the files say now. Only pipelines that have
changed are stopped and started again, and the others keep their connections. A mistake in the
files, or a changed pipeline that cannot run, changes nothing: the log says why. What
connections, plugins, ${…}, certificates and other files that are read say now counts, too. A
change of embedded, state and the like needs a restart, and is refused. --watch does not look at
the programs of plugins.

With --from and --to it runs one pipeline and reads no file. A key given again adds to its list
(topics=a/#,topics=b/#), and \, is a comma within a value; within {{ }} all are. A message that is
refused ends that: on_error, buffer and the like need a file. At the end a ledger says what became
of every message.

` + ledgerHelp(),
		Example: `  xrtcbridge run
  xrtcbridge run sensors.yaml mirror.yaml
  echo hello | xrtcbridge run --from stdio --to stdio
  xrtcbridge run --from file,path=in.log --to mqtt,url=mqtt://localhost:1883,topic=log`,
	}, func(cmd *cobra.Command, names []string) error {
		if f.from != "" && !cmd.Flags().Changed("log-level") {
			f.log.level = slog.LevelWarn // one pipeline on a command line: lifecycle is noise
		}
		if f.watch && f.from != "" {
			return failure{code: exitUsage, err: errors.New("--watch goes with files")}
		}
		if (f.from == "") != (f.to == "") {
			return failure{
				code: exitUsage, err: errors.New("--from and --to go together"),
				hint: "stdio reads standard input and writes standard output: --from stdio --to stdio",
			}
		}
		return run(cmd.Context(), s, folders, names, f)
	})
	folders.add(cmd)
	f.log.add(cmd)
	cmd.Flags().Lookup("log-level").Usage += "; with --from it is warn unless given"
	cmd.Flags().Lookup("quiet").Usage += ", and print no ledger"
	cmd.Flags().StringVar(&f.from, "from", "", "source of a pipeline without a file: TYPE[,key=value...]")
	cmd.Flags().StringArrayVar(&f.steps, "step", nil,
		"step between them, in order: TYPE[,key=value...], or TYPE=value; repeatable")
	cmd.Flags().StringVar(&f.to, "to", "", "sink of a pipeline without a file: TYPE[,key=value...]")
	durationFlag(cmd.Flags(), &f.limit, "for",
		"stop this `duration` after the start of the embedded servers, as a signal would")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "reload when a file has changed, or one that it reads, and go on when all inputs are finished")
	s.rawFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("from", completeEnd(folders, s,
		func(c bridge.Connector) any { return openerSettings(c.Source) }))
	_ = cmd.RegisterFlagCompletionFunc("to", completeEnd(folders, s,
		func(c bridge.Connector) any { return openerSettings(c.Sink) }))
	return cmd
}

func run(ctx context.Context, s std, folders *pluginFolders, names []string, f runFlags) error {
	files, err := config.Files(names...)
	if err != nil {
		return failure{code: exitUsage, err: err}
	}
	screen := &screen{to: bare(s.err)}
	seen := monitor.New()
	log := seen.Logger(f.log.logger(screen))
	k := folders.catalog(log)
	c, err := f.load(ctx, k, files)
	if err != nil {
		k.close()
		return err
	}
	r := &running{
		flags: f, folders: folders, names: names, log: log, seen: seen, turn: make(chan struct{}, 1),
		catalogs: []*catalog{k}, reloaded: make(chan struct{}, 1),
	}
	defer r.end()
	for _, e := range c.Warnings {
		log.Warn("a setting may not be what is meant", "at", e.Place(), "why", e.Message, "hint", e.Hint)
	}
	if off := len(c.Disabled); off > 0 {
		log.Info("disabled pipelines do not run", "count", off)
		if e := c.servers; len(c.Pipelines) == 0 && e.MQTT == nil && e.NATS == nil && e.XRTC == nil {
			return failure{
				code: exitUsage, err: errors.New("there is nothing to run: all pipelines are disabled"),
				hint: "remove enabled: false",
			}
		}
	}
	if len(files) == 0 && f.from == "" {
		files = []string{defaultFile}
	}
	r.lock(files)
	ctx, end := context.WithCancel(ctx)
	defer end()
	asked := make(chan struct{}, 1)
	var hangup func() bool
	if f.from == "" {
		hangup = reloadAtHangup(asked)
	}
	r.bridge = &engine.Bridge{FailFast: c.FailFast, Logger: log, Stdin: s.in, Stdout: s.data}
	ctx, abort, stop := untilSignal(ctx, log, r.longestDrain, hangup)
	defer stop()
	r.bridge.Abort = abort
	r.manager = startService(ctx, log, longestDrain(c.Pipelines))
	defer r.manager.close()

	for i, circle := range loops(c.Pipelines) {
		if circle != "" {
			log.Warn(loopWarning, "pipeline", c.Pipelines[i].Name, "circle", circle)
		}
	}
	for setting, dir := range c.shared() {
		log.Warn(sharedWarning, "setting", setting, "dir", dir)
	}
	server, err := startEmbedded(ctx, c.servers, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := server.Close(); err != nil {
			log.Error("stop embedded servers", "err", err)
		}
	}()
	if err := server.Login(c.urls); err != nil {
		return err
	}

	defer time.AfterFunc(cmp.Or(f.limit, forever), end).Stop() // only now, since servers may take their time to start
	state := store.New(c.state, log)
	defer func() {
		if err := state.Close(); err != nil {
			log.Error("close the state", "err", err)
		}
	}()
	if f.from == "" && !c.state.Off() {
		r.state = state
	}
	pipelines := func() []monitor.Pipeline { return seen.Pipelines(r.bridge) }
	figures := r.metrics(pipelines)
	seen.Settled = figures.Settled
	r.server = server
	if err := r.begin(k, c, files); err != nil {
		return err
	}
	plan := r.plan
	if r.state != nil && c.state.NATS == nil {
		warnOfForgotten(ctx, log, c.state, plan)
	}
	b := r.bridge
	answering, err := f.answer(ctx, admin.Options{
		Bridge: b, Monitor: seen, Version: version(), Stopping: ctx.Done(), Logger: log,
	}, state, c, files, r)
	if err != nil {
		return err
	}
	defer answering.Close()
	answering.Handle("GET /metrics", figures.Handler())
	looking, stopLooking := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { seen.Run(looking, b) })
	if r.state != nil && c.state.NATS != nil { // which may take its time to answer
		watching.Go(func() { warnOfForgotten(looking, log, c.state, plan) })
	}
	watching.Go(func() { (&summary{log: log}).run(looking, c.log.Summary, pipelines) })
	watching.Go(func() { r.listen(ctx, asked) })
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		if to := c.telemetry.OTLP; to != nil {
			figures.Push(looking, *to, log)
		}
	}()
	if f.watch {
		if err := r.watch(ctx, asked); err != nil {
			log.Error("changes of the files are not noticed; xrtcbridge reload makes the bridge read them", "err", err)
		}
	}
	r.manager.watch(len(b.Pipelines), pipelines)
	hide := f.showProgress(s, screen, b)
	err = b.Run(ctx)
	end()
	r.wait() // a reload uses what is closed below
	stopLooking()
	watching.Wait()
	select {
	case <-pushed: // all that is known at the end, within seconds
	case <-abort:
	}
	hide()
	var all []*engine.Pipeline
	unbalanced := false
	for _, s := range b.Situations() {
		all = append(all, s.Pipeline)
		unbalanced = unbalanced || !s.Pipeline.Ledger().Balanced()
	}
	err = howFar(err, all)
	f.printLedger(s.err, log, r.seen.Pipelines(b), unbalanced)
	if err == nil && unbalanced {
		err = errUnbalanced
	}
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
func howFar(err error, pipelines []*engine.Pipeline) error {
	if !errors.Is(err, engine.ErrCut) {
		return err
	}
	for _, p := range pipelines {
		if read, total := p.Progress(); read < total {
			err = errors.Join(err, fmt.Errorf("pipeline %q: %d of %d bytes have been read", p.Name, read, total))
		}
	}
	return err
}

func (f runFlags) load(ctx context.Context, k *catalog, files []string) (loaded, error) {
	if f.from == "" && f.to == "" {
		if len(f.steps) > 0 {
			return loaded{}, failure{code: exitUsage, err: errors.New("--step goes with --from and --to")}
		}
		return k.load(ctx, files)
	}
	if len(files) > 0 {
		return loaded{}, failure{code: exitUsage, err: errors.New("--from and --to go without files")}
	}
	c, err := k.loader(ctx).Inline(f.from, f.to, f.steps...)
	if err != nil {
		return loaded{}, failure{
			code: exitUsage, err: err,
			hint: "xrtcbridge connectors NAME shows the settings of a connector, and steps NAME those of a step",
		}
	}
	return loaded{Config: c}, nil
}

func longestDrain(pipelines []*engine.Pipeline) (longest time.Duration) {
	for _, p := range pipelines {
		longest = max(longest, drain(p))
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

// reloadAtHangup returns what to do at a SIGHUP: somebody asks for a reload by it, unless the
// terminal to which the process belongs has ended, which is a stop.
func reloadAtHangup(asked chan<- struct{}) func() bool {
	had := hasTerminal()
	return func() bool {
		if had && !hasTerminal() {
			return false
		}
		select {
		case asked <- struct{}{}:
		default: // the next one reads all that is there then
		}
		return true
	}
}

// hasTerminal reports whether the process belongs to a terminal, wherever its output goes.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// untilSignal returns a context that is done at the first signal, and a channel that is closed at
// the second. A connector that does not let go even then, or long after the drain, must not hold
// the process; drain tells how long that is. hangup, if not nil, is asked at each SIGHUP, and what it
// returns true for is no stop.
func untilSignal(ctx context.Context, log *slog.Logger, drain func() time.Duration, hangup func() bool,
) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(ctx)
	abort, done := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals()...)
	var watching sync.WaitGroup
	watching.Go(func() {
		reloads := func(sig os.Signal) bool { return sig == syscall.SIGHUP && hangup != nil && hangup() }
		for told := false; !told; {
			select {
			case sig := <-signals:
				if told = !reloads(sig); told {
					log.Warn("stopping: delivering what has been read, a second signal cuts it short", "signal", sig.String())
					cancel()
				}
			case <-ctx.Done():
				told = true
			case <-done:
				return
			}
		}
		late := time.NewTimer(drain() + closeGrace)
		defer late.Stop()
		for second := signals; ; {
			select {
			case sig := <-second:
				if reloads(sig) {
					continue
				}
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
		close(done)
		cancel()
		watching.Wait()
	}
}

func hintFor(err error) string {
	switch {
	case errors.Is(err, engine.ErrNeverConnected):
		return "see that the address is right and that somebody answers there; the log says what was tried"
	case errors.Is(err, engine.ErrCut):
		return "a new run reads the input from its beginning, and file sinks append"
	case errors.Is(err, engine.ErrNotDrained):
		return "what was not delivered comes again after a restart if its source can; " +
			"drain_timeout in the file gives more time"
	}
	return ""
}

var errUnbalanced = errors.New("the ledger does not balance: this is a bug in xrtcbridge, " +
	"please report it with the table above")
