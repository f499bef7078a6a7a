package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"gopkg.in/yaml.v3"
)

// maxErrors bounds what a hostile file can make us remember.
const maxErrors = 1000

// run is one use of a Loader.
type run struct {
	Loader
	errs            Errors
	docs            []*document
	shapes          map[reflect.Type]*shape
	connections     map[string]*connection
	everyConnection []*connection // with those of a name that is taken
	pipelines       map[string]place
	exclusive       map[string]place
	missing         map[string]error // of connectors, what Find said
	// there was a mistake in the section of plugins or in Prepare, so that connectors may be missing
	unprepared bool
	drain      time.Duration
	disabled   bool // the pipeline at hand, which takes nothing from others
	config     Config
	filled     fillings
	meant      map[*yaml.Node][]string // beside what is written, for fingerprints
	guesses    *guesses                // nil: ${…} is filled in

	settingsOnly bool // the file holds settings, and no pipelines
	sectionsOnly bool // other top-level keys are not looked at
	verbatim     bool // ${…} has been filled in already
}

// place is a node with the document that it stands in.
type place struct {
	doc  *document
	node *yaml.Node
}

func (p place) String() string {
	line, col, other := p.doc.where(p.node)
	text := (&Error{File: p.doc.file, Line: line, Col: col}).Place()
	if other != "" {
		text += " (" + other + ")"
	}
	return text
}

func (l Loader) start() *run {
	if l.Getenv == nil {
		l.Getenv = os.LookupEnv
	}
	if l.World.Getenv == nil {
		l.World.Getenv = l.Getenv
	}
	return &run{
		Loader:      l,
		shapes:      make(map[reflect.Type]*shape),
		connections: make(map[string]*connection),
		pipelines:   make(map[string]place),
		exclusive:   make(map[string]place),
		missing:     make(map[string]error),
		filled:      make(fillings),
		meant:       make(map[*yaml.Node][]string),
		config: Config{
			Descriptions: make(map[string]string), Sections: make(Fingerprints),
			Fingerprints: make(map[string]Fingerprints), Read: make(map[string]string),
		},
	}
}

// read adds files.
func (r *run) read(files []string) error {
	for _, name := range files {
		read := func() ([]byte, error) { return r.readFile(name, maxFile) }
		if name == stdin {
			if read = r.Stdin; read == nil {
				return errors.New("read configuration: there is no standard input")
			}
			name = stdinName
		}
		text, err := read()
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		r.add(name, text)
		if name == stdinName { // connectors that read it say so by this name
			r.exclusive[stdinName] = place{r.docs[len(r.docs)-1], new(yaml.Node)}
		}
	}
	return nil
}

// tops reads the top-level keys of all files and calls Prepare, whose errors are reported at the
// keys that they name. It returns where each key is set.
func (r *run) tops() map[string]place {
	tops := make(map[string]place)
	for _, d := range r.docs {
		d.top(tops)
	}
	if r.Prepare == nil || r.unprepared || len(r.docs) == 0 {
		return tops
	}
	var places []place
	for _, d := range r.docs {
		if d.root != nil {
			places = append(places, place{d, d.root})
		}
	}
	before := len(r.errs)
	if err := r.Prepare(); err != nil && len(places) > 0 {
		(&walker{document: r.docs[0]}).report(places, err)
	}
	r.unprepared = len(r.errs) > before
	return tops
}

// add parses a file and keeps it for finish.
func (r *run) add(name string, text []byte) {
	d := &document{run: r, file: name, dir: filepath.Dir(name), order: len(r.docs)}
	r.docs = append(r.docs, d)
	d.parse(text)
}

// finish makes sense of all files together.
func (r *run) finish() (*Config, error) {
	tops := r.tops()
	for _, c := range r.everyConnection {
		c.check()
	}
	for _, d := range r.docs {
		d.allPipelines()
	}
	if _, serves := tops[r.ServersKey]; !serves && len(r.errs)+len(r.config.All()) == 0 {
		for _, d := range r.docs[:min(1, len(r.docs))] {
			d.fail(d.root, "there is no pipeline", "write pipelines: and under it NAME: {from: …, to: …}")
		}
	}
	for _, p := range r.config.All() {
		p.DrainTimeout = r.drain
	}
	r.config.filled = r.filled.all()
	r.config.Warnings = r.config.Warnings.sorted()
	return &r.config, r.errs.tidy()
}
