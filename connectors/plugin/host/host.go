// Package host starts connector plugins, checks and supervises them, and makes of each of their
// connectors a [bridge.Connector] like a built-in's.
//
// One process serves all instances of a plugin's connectors. When it ends, in whatever way, every
// open instance fails with the reason, the engine opens others as it does after the loss of a
// broker, and the first of them starts the process again: messages that were not acknowledged come
// again, and nothing else is affected. An answer that makes no sense ends the process, too: what
// happens too often in a minute is not tried again.
//
// What a plugin gets is little: an environment with what is listed for it, standard input that ends
// with the host, a connection that is encrypted and closed to everybody else, and the settings of
// its own connectors. It is still a program that runs with the rights of this one: trust comes from
// its checksum.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Host runs plugins. Its methods may be called from several goroutines.
type Host struct {
	log     *slog.Logger
	folders []string

	mu      sync.Mutex // guards the rest
	private *folder
	plugins map[string]*Plugin
}

// New returns a host that finds plugins by name in the folders. It starts nothing. A nil logger
// discards.
func New(log *slog.Logger, folders ...string) *Host {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Host{log: log, folders: folders, plugins: make(map[string]*Plugin)}
}

// ErrNotFound says that no folder has a plugin of that name.
var ErrNotFound = errors.New("there is no such plugin")

const programPrefix = "xrtcbridge-"

// Find returns settings for the plugin of that name in one of the folders, or [ErrNotFound]. Of the
// environment it gets PATH, which scripts need to find their interpreter.
func (h *Host) Find(name string) (Settings, error) {
	if err := CheckName(name); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	for _, folder := range h.folders {
		for _, suffix := range programSuffixes {
			path := filepath.Join(folder, programPrefix+name+suffix)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return Settings{Path: path, Env: []string{"PATH"}}, nil
			}
		}
	}
	for _, folder := range h.folders {
		if err := unbuilt(filepath.Join(folder, programPrefix+name)); err != nil && filepath.Base(folder) == name {
			return Settings{}, err
		}
	}
	return Settings{}, ErrNotFound
}

// Found returns the names of the plugins in the folders, sorted.
func (h *Host) Found() []string {
	found := make(map[string]bool)
	for _, folder := range h.folders {
		entries, _ := os.ReadDir(folder) // one that is not there has none
		for _, e := range entries {
			for _, suffix := range programSuffixes {
				base, ok := cutBoth(e.Name(), programPrefix, suffix)
				if ok && CheckName(base) == nil && !e.IsDir() {
					found[base] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Load starts a plugin and returns it. Each name can be loaded once.
func (h *Host) Load(ctx context.Context, name string, s Settings) (*Plugin, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	p, err := h.add(name, s)
	if err != nil {
		return nil, err
	}
	if err := p.describe(ctx); err != nil {
		h.mu.Lock()
		delete(h.plugins, name)
		h.mu.Unlock()
		p.stop()
		return nil, err
	}
	return p, nil
}

func (h *Host) add(name string, s Settings) (*Plugin, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plugins[name] != nil {
		return nil, fmt.Errorf("plugin %q is loaded already", name)
	}
	if h.private == nil {
		f, err := newFolder()
		if err != nil {
			return nil, err
		}
		h.private = f
	}
	s.Limits = s.Limits.withDefaults()
	p := &Plugin{
		Name: name, settings: s, folder: h.private.path, log: h.log.With("plugin", name),
		starting: make(chan struct{}, 1),
	}
	h.plugins[name] = p
	return p, nil
}

// Plugins returns the loaded plugins, sorted by name.
func (h *Host) Plugins() []*Plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.plugins), func(a, b *Plugin) int { return strings.Compare(a.Name, b.Name) })
}

// Keep ends the plugins that nobody uses any more, as used says of each name.
func (h *Host) Keep(used func(plugin string) bool) {
	var all sync.WaitGroup
	h.mu.Lock()
	for name, p := range h.plugins {
		if !used(name) {
			delete(h.plugins, name)
			all.Go(p.stop)
		}
	}
	h.mu.Unlock()
	all.Wait()
}

// Close ends all plugins and removes what was made for them. Instances that are still open fail.
func (h *Host) Close() error {
	var all sync.WaitGroup
	for _, p := range h.Plugins() {
		all.Go(p.stop)
	}
	all.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.plugins)
	if h.private == nil {
		return nil
	}
	f := h.private
	h.private = nil
	return f.remove()
}

// Add adds the connectors of p to r. A name that r has already is an error.
func (p *Plugin) Add(r *bridge.Registry) error {
	for _, c := range p.connectors {
		if _, taken := r.Lookup(c.Name); taken {
			return fmt.Errorf("plugin %q has a connector %q, and there is one of that name already", p.Name, c.Name)
		}
	}
	for _, c := range p.connectors {
		if err := r.Add(c); err != nil {
			return fmt.Errorf("plugin %q: %w", p.Name, err)
		}
	}
	return nil
}
