package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// leastHidden is the length from which on a value that was filled in is kept out of texts. What is
// shorter is in every text, and nobody's secret.
const leastHidden = 4

// filling is a ${…} and what it stands for.
type filling struct{ source, value string }

// fillings are those of a configuration, at the nodes that hold them.
type fillings map[*yaml.Node][]filling

// note remembers that ${inner} was filled in within n.
func (fs fillings) note(n *yaml.Node, inner, value string) {
	if f := (filling{"${" + inner + "}", value}); len(value) >= leastHidden && !slices.Contains(fs[n], f) {
		fs[n] = append(fs[n], f)
	}
}

// note remembers that ${inner} was filled in within n.
func (r *run) note(n *yaml.Node, inner, value string) {
	r.filled.note(n, inner, value)
	r.stands(n, inner+"="+value)
}

// within returns those in n and below it.
func (fs fillings) within(n *yaml.Node) []filling {
	if n == nil || len(fs) == 0 {
		return nil
	}
	all := slices.Clone(fs[n])
	for _, c := range n.Content {
		all = append(all, fs.within(c)...)
	}
	return all
}

// all returns those of all nodes.
func (fs fillings) all() (all []filling) {
	for _, some := range fs {
		all = append(all, some...)
	}
	return all
}

// unfilled returns text with what is written in place of what it stands for, the longest values
// first, since one may be a part of another.
func unfilled(text string, all []filling) string {
	slices.SortFunc(all, func(a, b filling) int {
		return cmp.Or(cmp.Compare(len(b.value), len(a.value)), cmp.Compare(a.source, b.source))
	})
	for _, f := range all {
		quoted := strconv.Quote(f.value)
		text = strings.NewReplacer(f.value, f.source, quoted[1:len(quoted)-1], f.source).Replace(text)
	}
	return text
}

// partly reports whether a text has a part of what was filled in, as one that shortens it does, or
// names the host of an address.
func partly(text string, f filling) bool {
	const least = 2 * leastHidden
	text = strings.ToLower(strings.ReplaceAll(text, f.source, ""))
	escaped := func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == '\\' }
	for _, part := range strings.FieldsFunc(strings.ToLower(f.value), escaped) {
		for i := 0; i+least <= len(part); i++ {
			if strings.Contains(text, part[i:i+least]) {
				return true
			}
		}
	}
	return false
}

// told returns the text of an error of somebody who knows what was filled in and not what is
// written, about the key at those places.
func (w *walker) told(text, key string, places []place) string {
	var all []filling
	for _, p := range places {
		all = append(all, w.filled.within(p.node)...)
	}
	text = unfilled(text, all)
	for _, f := range all {
		if partly(text, f) {
			return strings.TrimPrefix(key+": ", ": ") + "what " + f.source + " stands for is no valid value"
		}
	}
	return text
}

// Written returns text with each ${…} of the configuration in place of what it stands for.
func (c *Config) Written(text string) string { return unfilled(text, slices.Clone(c.filled)) }
