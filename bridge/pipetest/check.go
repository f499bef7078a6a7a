package pipetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// ends are the names by which a test may call the ends of a pipeline: their place, and their type
// if no other end has it.
type ends struct {
	what   string
	places map[string]string // place by name
	all    []string          // places, in the order of the file
	types  []string          // of them
}

// names returns, by place, what is best to call each: by its type, if no other has it.
func (e *ends) names() map[string]string {
	all := make(map[string]string)
	for i, place := range e.all {
		if all[place] = place; e.places[e.types[i]] == place {
			all[place] = e.types[i]
		}
	}
	return all
}

func (e *ends) add(place, typ string) {
	e.all, e.types = append(e.all, place), append(e.types, typ)
	e.places[place] = place
	if other, taken := e.places[typ]; taken && other != typ {
		e.places[typ] = "" // ambiguous
	} else if !taken {
		e.places[typ] = place
	}
}

func sourcesOf(p *engine.Pipeline) *ends {
	e := &ends{what: "source", places: make(map[string]string)}
	for name, from := range p.Sources() {
		e.add(strings.TrimPrefix(name, p.Name+"-"), from.Type)
	}
	return e
}

func sinksOf(p *engine.Pipeline) *ends {
	e := &ends{what: "sink", places: make(map[string]string)}
	for name, to := range p.Sinks() {
		e.add(strings.TrimPrefix(name, p.Name+"-"), to.Sink.Type)
	}
	return e
}

// place returns the place that a name stands for.
func (e *ends) place(name string) (place, message, hint string) {
	place, known := e.places[name]
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(e.places)), func(n string) bool { return e.places[n] == "" })
	switch {
	case place != "":
		return place, "", ""
	case known:
		return "", fmt.Sprintf("several %ss are called %q", e.what, name), "write its place: " + strings.Join(e.all, ", ")
	}
	hint = e.what + "s: " + strings.Join(names, ", ")
	if near := suggest.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return "", fmt.Sprintf("the pipeline has no %s %q", e.what, name), hint
}

// checker finds mistakes in a file that are seen beside the pipelines only.
type checker struct {
	config.Places
	mistakes config.Errors
}

func (c *checker) fail(path, message, hint string) {
	c.mistakes = append(c.mistakes, c.Error(path, message, hint))
}

// check checks a file, and has names of ends replaced by their places.
func (c *checker) check(f *file, pipelines []*engine.Pipeline, update bool) error {
	if len(f.Tests) == 0 {
		c.fail("tests", "there is no test", "write a list of {name: …, messages: […], expect: {…}}")
	}
	names := make(map[string]int)
	for i := range f.Tests {
		t, path := &f.Tests[i], fmt.Sprintf("tests.%d", i)
		if first, twice := names[t.Name]; twice {
			c.fail(path+".name", fmt.Sprintf("there is a test %q already", t.Name),
				"it is at "+c.Error(fmt.Sprintf("tests.%d.name", first), "", "").Place())
		}
		names[t.Name] = i
		if len(t.Messages) == 0 {
			c.fail(path+".messages", "there are no messages", "write at least one: {topic: …, payload: …}")
		}
		if !t.Expect.asserts() && !update {
			c.fail(path+".expect", "this test expects nothing",
				"write what is to arrive, as in sinks: {NAME: [{payload: …}]}, or run with --update")
		}
		if p := c.pipeline(path, t, pipelines); p != nil {
			c.ends(path, t, p)
		}
	}
	if len(c.mistakes) > 0 {
		slices.SortStableFunc(c.mistakes, func(a, b *config.Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		})
		return c.mistakes
	}
	return nil
}

func (c *checker) pipeline(path string, t *test, pipelines []*engine.Pipeline) *engine.Pipeline {
	if t.Pipeline == "" && len(pipelines) == 1 {
		return pipelines[0]
	}
	var names []string
	for _, p := range pipelines {
		if p.Name == t.Pipeline {
			return p
		}
		names = append(names, p.Name)
	}
	hint := "pipelines: " + strings.Join(names, ", ")
	if t.Pipeline == "" {
		c.fail(path, "the key pipeline is missing, since there are several", hint)
		return nil
	}
	if near := suggest.Nearest(t.Pipeline, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	c.fail(path+".pipeline", fmt.Sprintf("there is no pipeline %q", t.Pipeline), hint)
	return nil
}

// ends checks the names of ends.
func (c *checker) ends(path string, t *test, p *engine.Pipeline) {
	sources := sourcesOf(p)
	for i := range t.Messages {
		switch in := &t.Messages[i]; {
		case in.From != "":
			at, message, hint := sources.place(in.From)
			if in.From = at; message != "" {
				c.fail(fmt.Sprintf("%s.messages.%d.from", path, i), message, hint)
			}
		case len(sources.all) == 1 || in.payloads == nil:
			in.From = sources.all[0]
		default:
			c.fail(fmt.Sprintf("%s.messages.%d", path, i), "the key from is missing, since there are several sources",
				"sources: "+strings.Join(sources.all, ", "))
		}
	}
	sinks := sinksOf(p)
	t.names = sinks.names()
	for name := range t.Expect.Sinks {
		if at, _, _ := sinks.place(name); at != "" {
			t.names[at] = name
		}
	}
	t.Sinks = byPlace(c, path+".sinks", t.Sinks, sinks)
	t.Expect.Sinks = byPlace(c, path+".expect.sinks", t.Expect.Sinks, sinks)
}

// byPlace returns what is said of sinks by their places.
func byPlace[T any](c *checker, path string, said map[string]*T, sinks *ends) map[string]*T {
	all := make(map[string]*T, len(said))
	for name, what := range said {
		at, message, hint := sinks.place(name)
		if message == "" && all[at] != nil {
			message, hint = fmt.Sprintf("the sink %q is named twice", at), ""
		}
		if message != "" {
			c.fail(path+"."+name, message, hint)
		}
		all[at] = what
	}
	return all
}
