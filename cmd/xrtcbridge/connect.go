package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// Bounds of check --connect.
const (
	connectTimeout = 5 * time.Second // of each place, unless --timeout says another
	mostConnecting = 8               // places that are tried at a time
	goodbye        = time.Second     // that a place has after its time to say what it knows
)

// connected is what has come of trying one place, as check prints it.
type connected struct {
	Pipeline string   `json:"pipeline,omitempty"`
	Place    string   `json:"place"` // the name of the instance, state, or embedded.SERVER
	Type     string   `json:"type,omitempty"`
	OK       bool     `json:"ok"`
	Tried    []string `json:"tried,omitempty"` // and is right
	NotTried []string `json:"not_tried,omitempty"`
	Error    string   `json:"error,omitempty"`

	system string
	probe  func(ctx context.Context) (bridge.Probed, error)
}

func (c connected) String() string {
	text := c.Place
	if c.Type != "" {
		text += " (" + c.Type + ")"
	}
	rest := c.NotTried
	switch {
	case !c.OK:
		text += ": failed: " + strings.Join(append(c.Tried, c.Error), "; ")
	case len(c.Tried) > 0:
		text += ": ok: " + strings.Join(c.Tried, "; ")
	case len(rest) > 0:
		text, rest = text+": not tried: "+rest[0], rest[1:]
	}
	for _, t := range rest {
		text += "\n  not tried: " + t
	}
	return text
}

// connect tries all places that run would open, a few at a time, and prints what has come of each.
// An error says how many have failed.
func (k *catalog) connect(ctx context.Context, s std, c loaded, files []string, timeout time.Duration, asJSON bool) error {
	all := k.connecting(ctx, c, files)
	tryAll(ctx, all, timeout)
	failed := 0
	for _, one := range all {
		if !one.OK {
			failed++
		}
		for _, text := range []*string{&one.Error, &one.Place} {
			*text = c.Written(*text)
		}
		for _, texts := range [][]string{one.Tried, one.NotTried} {
			for i := range texts {
				texts[i] = c.Written(texts[i])
			}
		}
		if asJSON {
			if err := printJSON(s, one); err != nil {
				return err
			}
		} else if _, err := fmt.Fprintln(s.out, one); err != nil {
			return err
		}
	}
	if failed > 0 {
		return failure{code: exitFailed, err: fmt.Errorf("%d of %s failed", failed, bridge.Plural(len(all), "place"))}
	}
	return nil
}

// tryAll tries them, a few at a time.
func tryAll(ctx context.Context, all []connected, timeout time.Duration) {
	var working sync.WaitGroup
	turns := make(chan struct{}, mostConnecting)
	for i := range all {
		working.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			all[i].try(ctx, timeout)
		})
	}
	working.Wait()
}

// try fills in what comes of it.
func (c *connected) try(ctx context.Context, timeout time.Duration) {
	late := fmt.Errorf(
		"no answer within %v: see that the address is right and that somebody answers there; --timeout gives it longer",
		timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	type answer struct {
		p   bridge.Probed
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		p, err := c.probe(ctx)
		answers <- answer{p, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		select {
		case a = <-answers:
		case <-time.After(goodbye): // it waits for a file server that is away, say, and hears nothing
			a.err = context.Cause(ctx)
		}
	}
	err := a.err
	c.Tried, c.NotTried, c.OK = a.p.Tried, a.p.NotTried, err == nil
	if err == nil {
		return
	}
	c.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.Is(context.Cause(ctx), late) {
		c.Error = strings.ReplaceAll(c.Error, context.DeadlineExceeded.Error(), late.Error())
	}
}

// notTried is the probe of a place that cannot be tried.
func notTried(why string) func(context.Context) (bridge.Probed, error) {
	return func(context.Context) (bridge.Probed, error) { return bridge.Probed{NotTried: []string{why}}, nil }
}

// connecting returns the places that there are, in the order of the files.
func (k *catalog) connecting(ctx context.Context, c loaded, files []string) (all []connected) {
	ports := c.servers.Ports(ctx)
	running := beside(files)
	if running {
		if err := c.servers.Login(c.urls); err != nil {
			k.log.Warn("the passwords of the embedded servers are not known", "err", err)
		}
	}
	for _, p := range ports {
		one := connected{Place: "embedded." + p.Server}
		one.probe = func(context.Context) (tried bridge.Probed, err error) {
			switch {
			case p.InUse() && running:
				tried.Tried = []string{"the bridge that runs these files has " + p.Listen}
			case p.Err != nil:
				err = fmt.Errorf("listen at %s: %w", p.Listen, p.Err)
			default:
				tried.Tried = []string{p.Listen + " is free"}
			}
			return tried, err
		}
		all = append(all, one)
	}
	// A server that does not run is not asked, nor is a stranger at its port, who would get its
	// password. What runs may have started before the server was written into the file.
	own := func(system string) bool {
		return slices.ContainsFunc(ports, func(p embedded.Port) bool { return p.Serves(system) && (!running || !p.InUse()) })
	}
	if s := c.state; !s.Off() && len(c.Pipelines) > 0 {
		one := connected{Place: "state", probe: func(ctx context.Context) (bridge.Probed, error) {
			state := store.Look(s, k.log, visit(s))
			p, err := state.Probe(ctx)
			return p, errors.Join(err, state.Close())
		}}
		if s.NATS != nil &&
			slices.ContainsFunc(s.NATS.URL, func(u bridge.URL) bool { return !u.IsZero() && own("nats "+u.Host) }) {
			one.probe = notTried(withRun)
		}
		all = append(all, one)
	}
	for _, p := range c.Pipelines {
		for _, one := range k.places(p) {
			if own(one.system) {
				one.probe = notTried(withRun)
			}
			all = append(all, one)
		}
	}
	return all
}

// places returns those that a pipeline connects to.
func (k *catalog) places(p *engine.Pipeline) (all []connected) {
	add := func(place, typ, system string, probe func(context.Context, bridge.Env) (bridge.Probed, error)) {
		one := connected{Pipeline: p.Name, Place: place, Type: typ, system: system}
		switch {
		case probe != nil:
			env := bridge.Env{
				Pipeline: p.Name, Instance: place, MaxBatch: cmp.Or(p.MaxBatch, bridge.DefaultMaxBatch),
				Logger: k.log.With("pipeline", p.Name, "connector", typ),
			}
			one.probe = func(ctx context.Context) (bridge.Probed, error) { return probe(ctx, env) }
		case k.origin(typ) != "":
			one.probe = notTried("the plugin runs, and cannot be asked for more")
		default:
			one.probe = notTried("there is nothing to connect to")
		}
		all = append(all, one)
	}
	for name, e := range p.Sources() {
		add(name, e.Type, e.Traffic.System, e.Probe)
	}
	for name, b := range p.Sinks() {
		add(name, b.Sink.Type, b.Sink.Traffic.System, b.Sink.Probe)
	}
	for i, e := range deadLetters(p) {
		name := p.Name + "-dead"
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		add(name, e.Type, e.Traffic.System, e.Probe)
	}
	return all
}

// withRun says why an end is not tried that is at an embedded server.
const withRun = "its server is embedded, and starts with run"

// beside reports whether another process runs one of the files.
func beside(files []string) bool {
	if len(files) == 0 {
		files = []string{defaultFile}
	}
	return slices.ContainsFunc(files, func(name string) bool {
		f, err := owned.Open(name)
		if err != nil {
			return false // it has been read before
		}
		defer func() { _ = f.Close() }()
		return !embedded.Lock(f)
	})
}

// deadLetters returns the sinks for them, each once, though several places have it.
func deadLetters(p *engine.Pipeline) (all []bridge.Endpoint[bridge.Sink]) {
	seen := make(map[string]bool)
	for _, o := range append(fates(p), &p.OnError) {
		e := o.DeadLetter
		key := fmt.Sprint(e.Type, e.Traffic.System, e.Traffic.Topic, e.Exclusive)
		if o.Then == bridge.FateDeadLetter && e.Open != nil && !seen[key] {
			seen[key] = true
			all = append(all, e)
		}
	}
	return all
}
