package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// Bounds of a reload, beside the time for draining of the pipelines that it stops.
const (
	probeTimeout  = 5 * time.Second  // of each place that a changed pipeline would connect to
	startPatience = 10 * time.Second // until a pipeline is connected whose predecessor was
	startLook     = 20 * time.Millisecond
)

// reload makes the bridge run what its files say now, or only says what would change. It is one at
// a time, and a second one waits. An error says why nothing has changed: the files have a mistake,
// what has changed needs a restart, or a pipeline cannot run as it is now, and runs again as it was.
// What went wrong on the way of one that went through are warnings. ctx is that of the bridge: when
// that is to stop, a reload is given up, with [engine.ErrStopping], and none begins.
func (r *running) reload(ctx context.Context, dry bool) (d difference, err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return d, engine.ErrStopping
	}
	defer r.bridge.Hold()()
	if !dry {
		r.manager.reloading()
	}
	next, err := r.readFiles(ctx, dry)
	if err == nil {
		d = compare(r.plan, next.plan)
		d.Warnings = next.warnings()
		if d.Refused = needRestart(r.now, next.loaded); len(d.Refused) > 0 {
			err = fmt.Errorf("a change of %s needs a restart of the bridge", strings.Join(d.Refused, ", "))
		}
		d.Warnings = append(d.Warnings, r.leftBehind(ctx, d, next.plan)...)
	}
	if err == nil && !dry {
		err = r.apply(ctx, &d, next)
	}
	if err != nil && ctx.Err() != nil {
		err = engine.ErrStopping // whatever that has led to
	}
	switch {
	case next.catalog == nil || !dry && err == nil:
	case !dry && errors.Is(err, engine.ErrStopping):
		r.keep(next.catalog) // pipelines that it has started may have something to deliver
	default:
		next.close()
	}
	switch {
	case errors.Is(err, engine.ErrStopping):
		d.Result = "reload was given up"
	case errors.Is(err, errHalfway):
		d.Result = "reload failed, and not all goes on as before"
	case dry && err != nil:
		d.Result = "dry run: a reload would fail, and all goes on as before"
	case dry:
		d.Result = "dry run: nothing was changed"
	case err != nil:
		d.Result = "reload failed, all goes on as before"
	default:
		d.Result = "reloaded"
	}
	if dry {
		return d, err
	}
	for _, text := range d.Warnings {
		r.log.WarnContext(ctx, "reload", "warning", text)
	}
	switch {
	case errors.Is(err, engine.ErrStopping):
		r.log.WarnContext(ctx, d.Result, "err", err) //nolint:sloglint // one of a few texts
		return d, err
	case err != nil:
		r.log.ErrorContext(ctx, d.Result, "err", err) //nolint:sloglint // one of a few texts
	default:
		r.log.InfoContext(ctx, d.Result, "changes", d.summary()) //nolint:sloglint // one of a few texts
	}
	r.noted(err)
	return d, err
}

// errHalfway is the kind of error of a reload that has failed and could not be taken back.
var errHalfway = errors.New("not all goes on as before")

// reading is what was read for a reload.
type reading struct {
	*catalog
	loaded
	files []string
	plan  map[string]*planned
}

func (n reading) warnings() (all []string) {
	for _, e := range n.Warnings {
		all = append(all, fmt.Sprintf("%s: %s; %s", e.Place(), e.Message, e.Hint))
	}
	for i, circle := range loops(n.Pipelines) {
		if circle != "" {
			all = append(all, fmt.Sprintf("pipeline %q: %s: %s", n.Pipelines[i].Name, loopWarning, circle))
		}
	}
	return all
}

// readFiles reads the files as check does. The plugins that it starts are its own.
func (r *running) readFiles(ctx context.Context, dry bool) (n reading, err error) {
	if r.flags.from != "" {
		return n, errors.New("this bridge runs no file that could be read again")
	}
	files, err := config.Files(r.names...)
	if n.files = files; len(files)+len(r.names) == 0 {
		n.files = []string{defaultFile}
	}
	if err == nil {
		n.catalog = r.folders.catalog(r.log)
		n.loaded, err = n.load(ctx, files)
	}
	if !dry {
		r.noteRead(n.files, n.loaded)
	}
	if err != nil {
		return n, err
	}
	if e := n.servers; len(n.Pipelines) == 0 && e.MQTT == nil && e.NATS == nil && e.XRTC == nil {
		return n, errors.New("there is nothing to run: all pipelines are disabled")
	}
	if err = r.server.Login(n.urls); err != nil {
		return n, err
	}
	n.plan, err = n.plans(n.loaded)
	return n, err
}

// apply makes the bridge run next, or leaves it as it is.
func (r *running) apply(ctx context.Context, d *difference, next reading) error {
	before := r.situation()
	if err := next.probe(ctx, *d, before); err != nil {
		return err
	}
	var out, in []*planned
	for _, c := range slices.Concat(d.Stops, d.Restarts) {
		out = append(out, r.plan[c.Pipeline])
	}
	for _, c := range slices.Concat(d.Restarts, d.Starts) {
		in = append(in, next.plan[c.Pipeline])
	}
	warnings, err := r.exchange(ctx, out, in, func(string) monitor.State { return monitor.Running })
	d.Warnings = append(d.Warnings, warnings...)
	if err == nil {
		err = r.await(ctx, in, before)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrStopping) {
		more, back := r.exchange(ctx, in, out, func(name string) monitor.State { return before[name].State })
		for _, c := range d.Starts {
			r.forget(c.Pipeline)
		}
		if d.Warnings = append(d.Warnings, more...); back != nil {
			return fmt.Errorf("%w; and %w: %w", err, errHalfway, back)
		}
		return err
	}
	if err != nil {
		return err
	}
	for _, c := range d.Stops {
		r.forget(c.Pipeline)
	}
	for _, name := range d.Untouched {
		next.plan[name] = r.plan[name]
	}
	r.now, r.files, r.plan = next.loaded, next.files, next.plan
	r.prune(next.catalog)
	r.lock(next.files)
	r.hold()
	d.Applied = true
	return nil
}

// probe finds out whether what has changed can be reached. That it cannot is an error for a
// pipeline that runs as it was.
func (n reading) probe(ctx context.Context, d difference, before map[string]monitor.Pipeline) error {
	var all []connected
	for _, c := range d.Restarts {
		if was := before[c.Pipeline]; was.Connected() && was.State != monitor.Finished {
			all = append(all, n.places(n.plan[c.Pipeline].Pipeline)...)
		}
	}
	tryAll(ctx, all, probeTimeout)
	var errs []error
	for _, one := range all {
		if !one.OK {
			errs = append(errs, fmt.Errorf("pipeline %q: %s (%s): %s", one.Pipeline, n.Written(one.Place), one.Type,
				n.Written(one.Error)))
		}
	}
	return errors.Join(errs...)
}

// exchange stops pipelines, all at a time, and then starts others, in the state that as says for
// each name; but one that somebody has paused, perhaps just now, stays so. It goes on after an error.
func (r *running) exchange(ctx context.Context, out, in []*planned,
	as func(name string) monitor.State,
) (warnings []string, err error) {
	ended, paused := make(map[string]*engine.Pipeline), make(map[string]bool)
	look := func() {
		for _, s := range r.bridge.Situations() {
			ended[s.Pipeline.Name] = s.Pipeline
			paused[s.Pipeline.Name] = paused[s.Pipeline.Name] || s.Phase == engine.Paused
		}
	}
	look()
	var stopping sync.WaitGroup
	errs := make([]error, len(out))
	for i, p := range out {
		stopping.Go(func() { errs[i] = r.stop(ctx, p) })
	}
	stopping.Wait()
	look()
	var failed []error
	stuck := make(map[string]bool)
	for i, p := range out {
		switch err := errs[i]; {
		case errors.Is(err, engine.ErrStopping):
			return warnings, err
		case errors.Is(err, errStuck):
			stuck[p.Name] = true
			failed = append(failed, err)
			continue
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("stopped with: %v", err))
		}
		if was := ended[p.Name]; was != nil {
			r.seen.Retire(was)
		}
	}
	if len(failed) > 0 && len(in) > 0 {
		failed = append(failed, errors.New("what it holds is free when the bridge is started again"))
	}
	for _, p := range in {
		if stuck[p.Name] {
			continue
		}
		made := r.launch(p)
		switch state := as(p.Name); {
		case paused[p.Name], state == monitor.Paused, state == monitor.Finished:
			err = r.bridge.Place(made, state != monitor.Finished)
		default:
			err = r.bridge.Start(made)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return warnings, errors.Join(failed...)
}

// await waits until each of the pipelines is connected, and returns why one is not: it has failed for
// good, or its predecessor was connected and it is not after a while. One that was not, or is new, has
// to have been tried.
func (r *running) await(ctx context.Context, started []*planned, before map[string]monitor.Pipeline) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(startLook)
	defer tick.Stop()
	waiting := make(map[string]bool)
	for _, p := range started {
		waiting[p.Name] = true
	}
	for {
		var late, errs []error
		for name, now := range r.situation() {
			was := before[name]
			switch {
			case !waiting[name]:
				continue
			case now.State == monitor.Failed, now.State == monitor.Waiting:
				errs = append(errs, errors.New(now.Reason))
			case now.Connected(), now.State == monitor.Paused:
			case was.Connected():
				late = append(late, fmt.Errorf("pipeline %q was connected and is not after %v as it is now: %s",
					name, startPatience, cmp.Or(now.Reason, string(now.State))))
				continue
			case now.State == monitor.Draining, now.Undecided():
				continue
			}
			delete(waiting, name)
		}
		if len(errs) > 0 || len(waiting) == 0 {
			return errors.Join(errs...)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(late...)
		}
	}
}

// situation returns what is known of the pipelines, by name.
func (r *running) situation() map[string]monitor.Pipeline {
	all := make(map[string]monitor.Pipeline)
	for _, p := range r.seen.Pipelines(r.bridge) {
		all[p.Name] = p
	}
	return all
}

// forget takes a pipeline that has ended out of the bridge, and says what became of its messages.
// One that does not let go is taken out when it does, see revive.
func (r *running) forget(name string) {
	last := r.situation()[name]
	if err := r.bridge.Remove(name); err != nil {
		r.log.Error("a pipeline that was removed goes on", "err", err)
		return
	}
	r.flags.logLedger(r.log, name, engine.Ledger(last.Ledger))
	r.seen.Forget(name)
}

// listen reloads each time that somebody asks for it, until ctx is done.
func (r *running) listen(ctx context.Context, asked <-chan struct{}) {
	for {
		select {
		case <-asked:
			_, _ = r.reload(ctx, false) // the log has it
		case <-ctx.Done():
			return
		}
	}
}

// asked answers POST /reload and /reload?dry_run=1 with the difference. Who asks may go meanwhile:
// ctx is that of the bridge.
func (r *running) asked(ctx context.Context, w http.ResponseWriter, q *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	dry := q.URL.Query().Get("dry_run")
	d, err := r.reload(ctx, dry != "" && dry != "0" && dry != "false")
	w.Header().Set("Content-Type", "application/json")
	var answer any = d
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		answer = struct {
			Error string `json:"error"`
			difference
		}{err.Error(), d}
	}
	_ = json.NewEncoder(w).Encode(answer)
}
