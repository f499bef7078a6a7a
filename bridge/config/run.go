package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// maxErrors bounds what a hostile file can make us remember.
const maxErrors = 1000

// run is one use of a Loader.
type run struct {
	Loader
	errs        Errors
	docs        []*document
	shapes      map[reflect.Type]*shape
	connections map[string]*connection
	pipelines   map[string]place
	exclusive   map[string]place
	missing     map[string]error // of connectors, what Find said
	unprepared  bool             // there was a mistake in the section of plugins or in Prepare, so that connectors may be missing
	drain       time.Duration
	config      Config

	settingsOnly bool // the file holds settings, and no pipelines
	sectionsOnly bool // other top-level keys are not looked at
}

// place is a node with the document that it stands in.
type place struct {
	doc  *document
	node *yaml.Node
}

func (p place) String() string {
	return (&Error{File: p.doc.file, Line: p.node.Line, Col: p.node.Column}).Place()
}

func (l Loader) start() *run {
	if l.Getenv == nil {
		l.Getenv = os.LookupEnv
	}
	return &run{
		Loader:      l,
		shapes:      make(map[reflect.Type]*shape),
		connections: make(map[string]*connection),
		pipelines:   make(map[string]place),
		exclusive:   make(map[string]place),
		missing:     make(map[string]error),
	}
}

// add parses a file and keeps it for finish.
func (r *run) add(name string, text []byte) {
	d := &document{run: r, file: name, dir: filepath.Dir(name), order: len(r.docs)}
	r.docs = append(r.docs, d)
	d.parse(text)
}

// finish makes sense of all files together.
func (r *run) finish() (*Config, error) {
	tops := make(map[string]place)
	for _, d := range r.docs {
		d.top(tops)
	}
	if r.Prepare != nil {
		r.prepare()
	}
	for _, name := range slices.Sorted(maps.Keys(r.connections)) {
		r.connections[name].check()
	}
	for _, d := range r.docs {
		d.allPipelines()
	}
	if _, serves := tops[r.ServersKey]; !serves && len(r.errs) == 0 && len(r.config.Pipelines) == 0 {
		for _, d := range r.docs[:min(1, len(r.docs))] {
			d.fail(d.root, "there is no pipeline", "write pipelines: and under it NAME: {from: …, to: …}")
		}
	}
	if len(r.errs) > 0 {
		return nil, r.errs.tidy()
	}
	for _, p := range r.config.Pipelines {
		p.DrainTimeout = r.drain
	}
	return &r.config, nil
}

// prepare calls Prepare and reports its errors at the keys that they name.
func (r *run) prepare() {
	if !r.unprepared && len(r.docs) > 0 {
		before := len(r.errs)
		var places []place
		for _, d := range r.docs {
			if d.root != nil {
				places = append(places, place{d, d.root})
			}
		}
		if err := r.Prepare(); err != nil && len(places) > 0 {
			(&walker{document: r.docs[0]}).report(places, err)
		}
		r.unprepared = len(r.errs) > before
	}
}

// readFile reads one file, bounded.
func readFile(name string) ([]byte, error) {
	text, err := readRegular(name, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}
