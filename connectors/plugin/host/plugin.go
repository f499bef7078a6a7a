package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Plugin is a loaded plugin.
type Plugin struct {
	Name string

	settings   Settings
	folder     string // private
	log        *slog.Logger
	version    string
	connectors []bridge.Connector

	starting chan struct{} // holds a token while somebody starts a process

	calls    sync.RWMutex // held by calls with messages
	suspects sync.Map     // by Env.Instance, those whose next one is to be alone

	mu      sync.Mutex // guards the rest
	program string     // what is started; empty until the first time
	current *process
	crashes []time.Time // within crashWindow
	last    error       // reason of the last one
	stopped bool
}

// crashWindow is the time in which Limits.Crashes are too many.
const crashWindow = time.Minute

// Back-off between starts after crashes in a row.
const (
	firstWait = 50 * time.Millisecond
	longWait  = time.Second
)

// Connectors returns the connectors of the plugin.
func (p *Plugin) Connectors() []bridge.Connector { return p.connectors }

// Version returns what the plugin says of its version.
func (p *Plugin) Version() string { return p.version }

// Path returns the program as it was configured.
func (p *Plugin) Path() string { return p.settings.Path }

// Locked reports whether only a program with one checksum is started.
func (p *Plugin) Locked() bool { return p.settings.SHA256 != "" }

// Identity is the same for plugins with the same settings and program. It may hold what is secret.
func (p *Plugin) Identity() (string, error) {
	sum, err := Sum(p.settings.Path)
	return fmt.Sprintf("%+v %s", p.settings, sum), err
}

// PID returns the number of the process, 0 if there is none now.
func (p *Plugin) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || !p.current.alive() {
		return 0
	}
	return p.current.child.cmd.Process.Pid
}

// running returns the process, and starts it if there is none. An error is permanent if it crashed
// too often.
func (p *Plugin) running(ctx context.Context) (*process, error) {
	if r := p.living(); r != nil {
		return r, nil
	}
	select {
	case p.starting <- struct{}{}:
		defer func() { <-p.starting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r := p.living(); r != nil {
		return r, nil
	}
	wait, err := p.mourn()
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.start(ctx)
}

func (p *Plugin) living() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.current.alive() {
		return p.current
	}
	return nil
}

// turn waits until an instance may make a call with messages, and returns what ends its turn.
func (p *Plugin) turn(instance string) (end func()) {
	if _, suspected := p.suspects.Load(instance); suspected {
		p.calls.Lock()
		return p.calls.Unlock
	}
	p.calls.RLock()
	return p.calls.RUnlock
}

// mourn counts the end of the process before, and returns how long to wait until the next start.
func (p *Plugin) mourn() (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return 0, bridge.Permanent(fmt.Errorf("plugin %q has been stopped", p.Name))
	}
	if p.current != nil {
		p.crashed(p.current.obituary())
		p.current = nil
	}
	p.crashes = slices.DeleteFunc(p.crashes, func(t time.Time) bool { return time.Since(t) > crashWindow })
	switch n := len(p.crashes); {
	case n >= p.settings.Limits.Crashes:
		return 0, bridge.Permanent(fmt.Errorf(
			"plugin %q crashed %d times within a minute and is left alone until that minute is over; the last time: %w",
			p.Name, n, p.last))
	case n > 0:
		return min(longWait, firstWait<<min(n-1, 10)), nil
	}
	return 0, nil
}

// crashed is called with p.mu held.
func (p *Plugin) crashed(reason error, counts bool) {
	if counts {
		p.crashes = append(p.crashes, time.Now())
		p.last = reason
	}
	p.log.Error("plugin ended", "err", reason)
}

func (p *Plugin) start(ctx context.Context) (*process, error) {
	program, err := p.prepare()
	switch {
	case errors.Is(err, fs.ErrNotExist): // it may be on its way, as in an update
		err = fmt.Errorf("plugin %q: %w", p.Name, err)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.crashed(err, true)
		return nil, err
	case err != nil:
		return nil, bridge.Permanent(fmt.Errorf("plugin %q: %w", p.Name, err))
	}
	began := time.Now()
	r, err := start(ctx, p.Name, program, p.folder, p.settings, newLineLog(p.log))
	if errors.Is(err, context.Canceled) {
		return nil, err // it was ended, and has not crashed
	}
	if err != nil {
		err = fmt.Errorf("start plugin %q: %w", p.Name, err)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.crashed(err, true)
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		go r.Stop()
		return nil, bridge.Permanent(fmt.Errorf("plugin %q has been stopped", p.Name))
	}
	p.current = r
	p.log.Info("plugin started", "pid", r.child.cmd.Process.Pid, "took", time.Since(began).Round(time.Millisecond))
	return r, nil
}

// prepare returns the path of what is to be started.
func (p *Plugin) prepare() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.program != "" {
		return p.program, nil
	}
	path, err := locate(p.settings.Path)
	if err != nil {
		return "", err
	}
	if p.settings.SHA256 != "" {
		private := filepath.Join(p.folder, p.Name, filepath.Base(path)) // it may look at its name
		if err := os.MkdirAll(filepath.Dir(private), 0o700); err != nil {
			return "", fmt.Errorf("copy plugin: %w", err)
		}
		if err := copyLocked(path, private, p.settings.SHA256); err != nil {
			return "", err
		}
		path = private
		p.program = path // a copy stays good
	}
	return path, nil
}

func (p *Plugin) stop() {
	p.mu.Lock()
	p.stopped = true
	r := p.current
	p.mu.Unlock()
	if r != nil {
		r.Stop()
	}
}

// What a plugin may say of itself.
const (
	maxConnectors = 100
	maxText       = 64 << 10
)

// describe starts the plugin and asks what it has.
func (p *Plugin) describe(ctx context.Context) error {
	r, err := p.running(ctx)
	if err != nil {
		return err
	}
	var d *pluginpb.DescribeResponse
	err = r.do(ctx, "describe", func(ctx context.Context) (err error) {
		d, err = r.calls.Describe(ctx, new(pluginpb.DescribeRequest))
		return err
	})
	if err != nil {
		return err
	}
	if n := len(d.GetConnectors()); n == 0 || n > maxConnectors {
		return fmt.Errorf("plugin %q has %d connectors, where 1 to %d are wanted", p.Name, n, maxConnectors)
	}
	p.version = clean(d.GetVersion(), 60)
	var errs []error
	for _, info := range d.GetConnectors() {
		c, err := p.connector(info)
		if err != nil {
			errs = append(errs, fmt.Errorf("plugin %q, connector %q: %w", p.Name, clean(info.GetName(), 60), err))
		}
		p.connectors = append(p.connectors, c)
	}
	// A registry has the rules for names.
	own := bridge.NewRegistry()
	for _, c := range p.connectors {
		if err := own.Add(c); err != nil {
			errs = append(errs, fmt.Errorf("plugin %q: %w", p.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Plugin) connector(info *pluginpb.ConnectorInfo) (bridge.Connector, error) {
	c := bridge.Connector{Name: info.GetName(), Summary: clean(info.GetSummary(), 200), Example: text(info.GetExample())}
	c.Delivery = delivery(info.GetSource(), info.GetStep(), info.GetSink())
	var errs []error
	settings := func(role string, r *pluginpb.RoleInfo) (func() any, bool) {
		if r == nil {
			return nil, false
		}
		s, err := config.FromKeys(keys(r.GetSettings()))
		if err != nil {
			errs = append(errs, fmt.Errorf("settings of the %s: %w", role, err))
		}
		return s, err == nil
	}
	if s, ok := settings("source", info.GetSource()); ok {
		c.Source = opener[bridge.Source]{p, c.Name, pluginpb.Role_SOURCE, description(info.GetSource()), s, newSource}
	}
	if s, ok := settings("sink", info.GetSink()); ok {
		c.Sink = opener[bridge.Sink]{p, c.Name, pluginpb.Role_SINK, description(info.GetSink()), s, newSink}
	}
	if s, ok := settings("step", info.GetStep()); ok {
		c.Step = opener[bridge.Step]{p, c.Name, pluginpb.Role_STEP, description(info.GetStep()), s, newStep}
	}
	if c.Source == nil && c.Sink == nil && c.Step == nil && len(errs) == 0 {
		errs = append(errs, errors.New("it can be neither source nor sink nor step"))
	}
	return c, errors.Join(errs...)
}

// keys returns what a plugin says of its settings.
func keys(settings []*pluginpb.Setting) []config.Key {
	all := make([]config.Key, len(settings))
	for i, s := range settings {
		all[i] = config.Key{
			Path: s.GetName(), Kind: s.GetType(), Required: s.GetRequired(), Default: clean(s.GetDefault(),
				200), Enum: s.GetEnum(),
			Min: s.Minimum, Max: s.Maximum, Short: s.GetShort(), Own: s.GetOwn(), Doc: clean(s.GetText(), 200),
			File: s.GetPath(),
		}
	}
	return all
}

// description returns what a plugin says of a role. A level that this side does not know is an
// unknown one.
func description(r *pluginpb.RoleInfo) bridge.Description {
	d := bridge.Description{
		Guarantee: bridge.Guarantee{Why: cmp.Or(clean(r.GetWhy(), 200), clean(r.GetDelivery(), 200),
			"the plugin does not say"), StableIDs: r.GetStableIds()},
		Ends: r.GetEnds(), MaxUnacked: int(r.GetMaxUnacked()), Holds: r.GetHolds(), Exclusive: clean(r.GetExclusive(), 200),
	}
	if _, known := pluginpb.Level_name[int32(r.GetLevel())]; known {
		d.Guarantee.Level = bridge.Level(r.GetLevel())
	}
	return d
}

// delivery joins what is said of the roles.
func delivery(roles ...*pluginpb.RoleInfo) string {
	var all []string
	for _, r := range roles {
		if said := clean(r.GetDelivery(), 200); said != "" && !slices.Contains(all, said) {
			all = append(all, said)
		}
	}
	return strings.Join(all, "; ")
}

// text makes several lines for people of what a plugin says.
func text(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s[:min(len(s), maxText)]) {
		b.WriteString(clean(strings.TrimRight(line, "\r\n"), 1000))
		b.WriteByte('\n')
	}
	return b.String()
}

func cutBoth(s, before, after string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, after)
}
