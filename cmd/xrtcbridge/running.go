package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// running is a bridge that runs, with what a reload exchanges.
type running struct {
	flags   runFlags
	folders *pluginFolders
	names   []string // of files, as on the command line
	log     *slog.Logger
	bridge  *engine.Bridge
	seen    *monitor.Monitor
	server  *embedded.Server
	state   *store.Store // nil: nothing is kept
	manager *service
	told    func(monitor.Config) // of each reload

	replays sync.Mutex // held during a replay of dead letters

	turn chan struct{} // holds a token while what follows is used

	now      loaded
	files    []string
	plan     map[string]*planned // pipelines that run
	catalogs []*catalog          // those whose plugins pipelines use; changed with mu held, too
	locks    []*os.File
	release  func() // of the hold on a bridge without pipelines; nil: there is none

	reloaded chan struct{} // has one after a reload

	mu                sync.Mutex        // guards what follows
	stood             []string          // the files when they were read last
	read              map[string]string // what was read, see config.Config.Read
	config            monitor.Config
	applied, rejected uint64 // reloads
}

// planned is a pipeline as files say it.
type planned struct {
	*engine.Pipeline // which never runs itself, see launch
	parts            config.Fingerprints
	promise          promise
	catalog          *catalog
}

// plans returns the pipelines of c, by name.
func (k *catalog) plans(c loaded) (map[string]*planned, error) {
	all := make(map[string]*planned)
	for _, p := range c.promises() {
		if of := c.pipeline(p.Pipeline); !p.Disabled && !p.Broken {
			parts := maps.Clone(c.Fingerprints[of.Name])
			if parts == nil {
				parts = make(config.Fingerprints)
			}
			for _, plugin := range k.pluginsOf(of) {
				identity, err := plugin.Identity()
				if err != nil {
					return nil, fmt.Errorf("plugin %q: %w", plugin.Name, err)
				}
				parts["plugins."+plugin.Name] = config.Fingerprint(identity)
			}
			all[of.Name] = &planned{of, parts, p, k}
		}
	}
	return all, nil
}

// launch makes of p a pipeline that is to run.
func (r *running) launch(p *planned) *engine.Pipeline {
	made := p.Again()
	if r.state != nil {
		made.State = r.state
	}
	r.seen.Watch(made)
	return made
}

// begin takes over what is to run at first.
func (r *running) begin(k *catalog, c loaded, files []string) error {
	plan, err := k.plans(c)
	if err != nil {
		return err
	}
	r.now, r.files, r.plan, r.catalogs = c, files, plan, []*catalog{k}
	r.noteRead(files, c)
	for _, p := range c.Pipelines {
		r.bridge.Pipelines = append(r.bridge.Pipelines, r.launch(plan[p.Name]))
	}
	r.hold()
	return nil
}

// wait waits for a reload that is under way. When the bridge is to stop, none begins any more.
func (r *running) wait() {
	r.turn <- struct{}{}
	<-r.turn
}

// end lets go of what is held.
func (r *running) end() {
	r.wait()
	for _, k := range r.catalogs {
		k.close()
	}
	for _, f := range r.locks {
		_ = f.Close()
	}
}

// hold keeps a bridge running that has servers and no pipelines, and one that is to look at its
// files.
func (r *running) hold() {
	switch wanted := len(r.plan) == 0 || r.flags.watch; {
	case wanted && r.release == nil:
		r.release = r.bridge.Hold()
	case !wanted && r.release != nil:
		r.release()
		r.release = nil
	}
}

// lock tells if another process runs one of the files. Those that are locked already stay so.
func (r *running) lock(files []string) {
	if r.flags.from != "" {
		return
	}
	var locked []*os.File
	for _, name := range files {
		file, err := owned.Open(name)
		if err != nil {
			continue // it has been read before
		}
		if at := slices.IndexFunc(r.locks, func(have *os.File) bool { return sameFile(have, file) }); at >= 0 {
			_ = file.Close()
			locked = append(locked, r.locks[at])
			r.locks = slices.Delete(r.locks, at, at+1)
			continue
		}
		locked = append(locked, file)
		if !embedded.Lock(file) {
			r.log.Warn("another xrtcbridge runs this file: they take each other's messages, files and client ids", "file", name)
		}
	}
	for _, file := range r.locks {
		_ = file.Close()
	}
	r.locks = locked
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// longestDrain returns how long a stop may take.
func (r *running) longestDrain() time.Duration {
	var all []*engine.Pipeline
	for _, s := range r.bridge.Situations() {
		all = append(all, s.Pipeline)
	}
	return longestDrain(all)
}

func drain(p *engine.Pipeline) time.Duration {
	return cmp.Or(p.DrainTimeout, engine.DefaultDrainTimeout)
}

// answering makes a server of the running bridge do what a reload needs, until ctx is done.
func (r *running) answering(ctx context.Context, a *admin.Server, c monitor.Config) {
	a.Handle("POST /reload", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.asked(ctx, w, q) }))
	if r.state != nil {
		a.Handle("GET /dead", http.HandlerFunc(r.letters))
		a.Handle("POST /dead/replay", http.HandlerFunc(r.replayed))
	}
	a.SetConfig(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config, r.told = c, a.SetConfig
}

// noted notes how a reload went.
func (r *running) noted(err error) {
	r.manager.reloaded(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.rejected++
		r.config.Rejected = &monitor.Rejected{At: time.Now(), Error: err.Error()}
	} else {
		r.applied++
		r.config = monitor.Config{Files: absolute(r.files), Loaded: time.Now(), Reloads: r.applied}
	}
	r.told(r.config)
	select {
	case r.reloaded <- struct{}{}:
	default:
	}
}

// needRestart returns the top-level keys whose change no reload can make.
func needRestart(now, next loaded) []string {
	changed := slices.DeleteFunc(now.Sections.Changed(next.Sections), func(key string) bool { return key == "plugins" })
	place := func(c loaded) any { return []any{c.state.Off(), c.state.NATS == nil, c.state.Place()} }
	if !slices.Contains(changed, "state") && !reflect.DeepEqual(place(now), place(next)) {
		changed = append(changed, "state (the folder of the first file)")
	}
	return changed
}

// errStuck is what stopping a pipeline returns that does not let go.
var errStuck = errors.New("a connector does not let go")

// stop stops a pipeline, within its time for draining, also while the bridge stops. One that does
// not is started again when it has let go, or taken out if it is not wanted then.
func (r *running) stop(ctx context.Context, p *planned) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain(p.Pipeline)+abortGrace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.bridge.Stop(ctx, p.Name) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // now it was told to be quick
	case err := <-done:
		return err
	case <-time.After(closeGrace):
		go r.revive(p.Name, done)
		return fmt.Errorf("pipeline %q: %w", p.Name, errStuck)
	}
}

// revive starts a pipeline that was stopped in vain when it has ended after all, or takes it out.
func (r *running) revive(name string, ended <-chan error) {
	<-ended //nolint:errcheck // it was told already
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	for _, s := range r.bridge.Situations() {
		switch p := r.plan[name]; {
		case s.Pipeline.Name != name || s.Phase != engine.Finished && s.Phase != engine.Failed:
		case p == nil:
			r.forget(name)
		default:
			r.seen.Retire(s.Pipeline)
			if err := r.bridge.Start(r.launch(p)); err != nil {
				r.log.Warn("start a pipeline again", "pipeline", name, "err", err)
			}
		}
	}
}

// keep has the plugins of a catalog end with the bridge.
func (r *running) keep(k *catalog) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.catalogs = append(slices.Clip(r.catalogs), k)
}

// prune ends plugins that no pipeline uses any more, those of a catalog that was added included.
func (r *running) prune(with *catalog) {
	used := make(map[*catalog]map[string]bool)
	for _, p := range r.plan {
		if used[p.catalog] == nil {
			used[p.catalog] = make(map[string]bool)
		}
		for _, plugin := range p.catalog.pluginsOf(p.Pipeline) {
			used[p.catalog][plugin.Name] = true
		}
	}
	var all []*catalog
	for _, k := range append(slices.Clip(r.catalogs), with) {
		if names, still := used[k]; still {
			k.host.Keep(func(plugin string) bool { return names[plugin] })
			all = append(all, k)
		} else {
			k.close()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.catalogs = all
}
