package bridge

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Registry is a set of connectors by name. It is a value made by its owner;
// there is no global one. Reading it from several goroutines is safe.
type Registry struct {
	connectors map[string]Connector
}

var connectorName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// NewRegistry returns a registry of the given connectors. It panics if two
// have one name or a name is malformed, since the list is written by a programmer.
func NewRegistry(connectors ...Connector) *Registry {
	r := &Registry{connectors: make(map[string]Connector, len(connectors))}
	for _, c := range connectors {
		if err := r.Add(c); err != nil {
			panic(err)
		}
	}
	return r
}

// reserved are the words that stand beside the name of a connector in a file, or in its place.
var reserved = []string{
	"all", "any", "by", "from", "max_in_flight", "on_error", "route", "share", "steps", "to", "when",
}

// Add adds c. A malformed, reserved or taken name is an error.
func (r *Registry) Add(c Connector) error {
	if !connectorName.MatchString(c.Name) {
		return fmt.Errorf("add connector %q: a name is a lower-case letter, then letters, digits, - and _", c.Name)
	}
	if slices.Contains(reserved, c.Name) {
		return fmt.Errorf("add connector %q: the word means something else in a file", c.Name)
	}
	if _, taken := r.connectors[c.Name]; taken {
		return fmt.Errorf("add connector %q: the name is taken", c.Name)
	}
	r.connectors[c.Name] = c
	return nil
}

// Lookup returns the connector of that name.
func (r *Registry) Lookup(name string) (Connector, bool) {
	c, ok := r.connectors[name]
	return c, ok
}

// Names returns all names, sorted.
func (r *Registry) Names() []string {
	return slices.Sorted(maps.Keys(r.connectors))
}
