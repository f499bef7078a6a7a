package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// candidateSets is how many sets of candidates for placeholders there are.
const candidateSets = 3

// mostGuesses bounds how many placeholders are tried together in one value.
const mostGuesses = 400

// guesses is what a run with placeholders knows. A mistake counts only if it hangs on none of them:
// it must be there with other placeholders as well, and, at a value that has one, without the
// value.
type guesses struct {
	set   int                 // of candidates, from 1
	omit  bool                // values that have one are left out
	names map[string]int      // of what placeholders stand for, numbered
	nodes map[*yaml.Node]bool // that have one
	said  map[string]bool     // mistakes of this run

	before []*guesses // of the runs with other ones, and of the one without, which is the last; nil in these

	// What follows is about the value at hand.
	trying bool
	words  []string       // that are allowed
	field  *field         // whose value it is
	asked  []string       // names, in the order in which they were asked for
	picks  map[string]int // which candidate each has
}

// guess loads with placeholders in place of the environment.
func (l Loader) guess(read func(*run) error) (*Config, error) {
	defaults := make(map[string]reflect.Value)
	for key, target := range l.Sections {
		defaults[key] = reflect.New(reflect.TypeOf(target).Elem()).Elem()
		defaults[key].Set(reflect.ValueOf(target).Elem())
	}
	prepare := func() error { return nil }
	if l.Prepare != nil {
		prepare = sync.OnceValue(l.Prepare)
	}
	one := func(g *guesses) (*run, error) {
		for key, target := range l.Sections {
			reflect.ValueOf(target).Elem().Set(defaults[key])
		}
		if l.URLs != nil {
			*l.URLs = nil
		}
		g.names, g.nodes, g.said = make(map[string]int), make(map[*yaml.Node]bool), make(map[string]bool)
		r := l.start()
		r.guesses = g
		r.Prepare = func() error {
			err := prepare()
			r.unprepared = r.unprepared || err != nil
			if g.omit {
				return nil // what it says is about values that are not there now
			}
			return err
		}
		return r, read(r)
	}
	set := l.Placeholders
	var before []*guesses
	for _, g := range []*guesses{{set: set%candidateSets + 1}, {set: (set+1)%candidateSets + 1}, {set: set, omit: true}} {
		r, err := one(g)
		if err != nil {
			return nil, err
		}
		_, _ = r.finish()
		before = append(before, g)
	}
	g := &guesses{set: set, before: before}
	r, err := one(g)
	if err != nil {
		return nil, err
	}
	c, err := r.finish()
	c.Placeholders = slices.Sorted(maps.Keys(g.names))
	return c, err
}

// surely reports whether a mistake at one of those nodes hangs on no placeholder.
func (d *document) surely(message string, nodes ...*yaml.Node) bool {
	g := d.guesses
	if g == nil || g.trying {
		return true
	}
	line, col := 0, 0
	if nodes[0] != nil {
		line, col, _ = d.where(nodes[0])
	}
	key := fmt.Sprint(d.file, line, col, message)
	g.said[key] = true
	for i, b := range g.before {
		without := i == len(g.before)-1
		if !b.said[key] && (!without || slices.ContainsFunc(nodes, g.within)) {
			return false
		}
	}
	return true
}

// only reports a run that is there to find out what hangs on placeholders. It makes nothing of what
// settings say of themselves, so that what else there is to say is said.
func (g *guesses) only() bool { return g != nil && g.before == nil }

// within reports whether n, or what is below it, has a placeholder.
func (g *guesses) within(n *yaml.Node) bool {
	return n != nil && (g.nodes[n] || slices.ContainsFunc(n.Content, g.within))
}

// omits reports whether n is left out.
func (w *walker) omits(n *yaml.Node) bool {
	if w.guesses == nil || !w.guesses.omit || n.Kind != yaml.ScalarNode {
		return false
	}
	for _, ref := range filledIn.FindAllString(n.Value, -1) {
		if !strings.Contains(ref, ":-") {
			return true
		}
	}
	return false
}

// placeholder stands for ${inner} within n, and for what name says.
func (w *walker) placeholder(n *yaml.Node, inner, name string) string {
	g := w.guesses
	if _, known := g.names[name]; !known {
		g.names[name] = len(g.names)
	}
	g.nodes[n] = true
	if !slices.Contains(g.asked, name) {
		g.asked = append(g.asked, name)
	}
	value := g.candidates(name)[g.picks[name]]
	w.filled.note(n, inner, value)
	return value
}

var noWord = regexp.MustCompile(`\W`)

// candidates are what may stand for name, as many for each. They differ from those of other names.
func (g *guesses) candidates(name string) []string {
	text := "placeholder_" + noWord.ReplaceAllString(name, "_")
	bound := func(x *float64) string {
		if x == nil {
			return text
		}
		return strconv.FormatFloat(*x, 'f', -1, 64)
	}
	f, most := cmp.Or(g.field, new(field)), len(g.words)
	sets := [candidateSets][]string{
		{strconv.Itoa(1000 + g.names[name]), "1", "1s", bound(f.min)},
		{"0", "1", "1h", bound(f.max)},
		{"2", "1000000", "10ms", bound(f.max)},
	}
	at := [candidateSets]int{0, max(0, most-1), most / 2}[g.set-1]
	return slices.Concat(g.words[at:], g.words[:at], []string{text, "json." + text}, sets[g.set-1],
		[]string{"http://" + text, "UTC", "2006"})
}

// guessed has decode read the value of n, with other placeholders in it until one suits. If none
// does, a mistake counts that is the same with all plain ones.
func (w *walker) guessed(n *yaml.Node, v reflect.Value, f *field, decode func()) {
	g := w.guesses
	if g == nil || g.trying {
		decode()
		return
	}
	g.trying, g.words, g.field, g.asked, g.picks = true, nil, f, nil, make(map[string]int)
	if v.Kind() == reflect.Bool {
		g.words = []string{"true", "false"}
	} else if !f.path {
		g.words = f.enum
	}
	defer func() { g.trying, g.asked = false, nil }()
	failed, errs, filled := w.failed, len(w.errs), w.filled[n]
	var mistake *Error
	same := true
	for tries := 1; ; tries++ {
		decode()
		if w.failed == failed {
			return
		}
		if len(w.errs) > errs {
			if mistake == nil && g.plain() {
				mistake = w.errs[errs]
			}
			same = same && (!g.plain() || w.errs[errs].Message == mistake.Message)
		}
		if tries == mostGuesses || !g.next() {
			break
		}
		w.failed, w.errs = failed, w.errs[:errs]
		w.filled[n] = slices.Clone(filled)
	}
	if len(g.asked) == 0 {
		return
	}
	w.failed, w.errs = failed, w.errs[:errs]
	if mistake != nil && same && !fits(n.Value, g.words) {
		w.failed++
		w.errs = append(w.errs, mistake)
	}
}

// plain reports whether the candidates at hand are names and fields only, which fit wherever any
// word or operand does, so that a mistake which is the same with all such is not theirs.
func (g *guesses) plain() bool {
	return !slices.ContainsFunc(g.asked, func(name string) bool {
		at := g.picks[name] - len(g.words)
		return at != 0 && at != 1
	})
}

// next goes on to other candidates: to all of those of a few names, and else to the same for each.
func (g *guesses) next() bool {
	most := len(g.candidates(""))
	if len(g.asked) > 3 {
		at := g.picks[g.asked[0]] + 1
		for _, name := range g.asked {
			g.picks[name] = at
		}
		return at < most
	}
	for _, name := range slices.Backward(g.asked) {
		if g.picks[name]++; g.picks[name] < most {
			return true
		}
		g.picks[name] = 0
	}
	return false
}

// fits reports whether one of the words may be what is written.
func fits(written string, words []string) bool {
	parts := filledIn.Split(written, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	pattern := regexp.MustCompile("^(?s:" + strings.Join(parts, ".*") + ")$")
	return slices.ContainsFunc(words, pattern.MatchString)
}
