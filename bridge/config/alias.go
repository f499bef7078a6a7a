package config

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// maxAliased bounds what the aliases of a file stand for all together: values, those of lists and
// mappings and long texts counting as several.
const maxAliased = 100_000

// resolver puts in place of each alias, and of each merge key, a copy of what it stands for. In a
// copy, Alias is the alias by which it came here, and Anchor is set at the top of it only.
type resolver struct {
	*document
	open map[*yaml.Node]bool // anchored values around the one at hand
	left int                 // of maxAliased
}

func (r *resolver) resolve(n *yaml.Node) {
	if n.Anchor != "" {
		r.open[n] = true
		defer delete(r.open, n)
	}
	for i, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			n.Content[i] = r.meant(c)
		} else {
			r.resolve(c)
		}
	}
	if n.Kind == yaml.MappingNode {
		r.merge(n)
	}
}

// meant returns a copy of what an alias stands for, or the alias if that is a mistake.
func (r *resolver) meant(alias *yaml.Node) *yaml.Node {
	switch {
	case r.bad[alias]:
		return alias
	case r.open[alias.Alias]:
		r.bad[alias] = true
		r.fail(alias, "*"+alias.Value+" stands within the value that it stands for",
			r.defined(alias))
		return alias
	}
	more := r.left >= 0
	c := r.copyOf(alias.Alias, alias)
	if r.left >= 0 {
		return c
	}
	r.bad[alias] = true
	if more {
		r.fail(alias, fmt.Sprintf("the aliases up to this one stand for more than %d values", maxAliased),
			r.defined(alias))
	}
	return alias
}

func (r *resolver) copyOf(n, alias *yaml.Node) *yaml.Node {
	const textOfOne = 100 // bytes that count as a value
	if r.left -= 1 + len(n.Value)/textOfOne; r.left < 0 {
		return n
	}
	c := *n
	if n != alias.Alias {
		c.Anchor = ""
	}
	c.Alias, c.Content = alias, make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		c.Content[i] = r.copyOf(item, alias)
	}
	if r.bad[n] {
		r.bad[&c] = true
	}
	return &c
}

// merge puts in place of the key << the keys of what it merges that n itself has not. Of several
// mappings, the first one that has a key wins.
func (r *resolver) merge(n *yaml.Node) {
	own, merges := make(map[string]bool), false
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; isMerge(key) {
			merges = true
		} else {
			own[key.Value] = true
		}
	}
	if !merges {
		return
	}
	var all []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !isMerge(key) {
			all = append(all, key, value)
			continue
		}
		from := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			from = value.Content
		}
		for _, m := range from {
			if r.bad[m] || r.bad[key] {
				r.bad[n] = true // nobody can tell which keys it has
				continue
			}
			if m.Kind != yaml.MappingNode {
				r.bad[n] = true
				r.fail(m, "<< merges a mapping, or a list of them, not "+kind(m), "write <<: *name, with &name at a mapping")
			}
			for j := 0; j+1 < len(m.Content); j += 2 {
				if k := m.Content[j]; !own[k.Value] {
					own[k.Value] = true
					all = append(all, k, m.Content[j+1])
				}
			}
		}
	}
	n.Content = all
}

// isMerge reports whether a key is a << without quotes.
func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.Tag == "!!merge" }

// where returns the place that an error at n names first, and what to say of the other one if n
// came by an alias: of what an alias stands for, the alias is the place; of what is in it, that is.
func (d *document) where(n *yaml.Node) (line, col int, other string) {
	use := n.Alias
	if use == nil || n.Kind == yaml.AliasNode {
		return n.Line, n.Column, ""
	}
	if n.Anchor != "" {
		return use.Line, use.Column, d.defined(use)
	}
	return n.Line, n.Column, "used at " + d.at(use) + " by *" + use.Value
}

func (d *document) defined(alias *yaml.Node) string {
	return "*" + alias.Value + " is defined at " + d.at(alias.Alias)
}

func (d *document) at(n *yaml.Node) string {
	return (&Error{File: d.file, Line: n.Line, Col: n.Column}).Place()
}
