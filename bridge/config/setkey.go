package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// SetKey returns text, a YAML document that [Loader] has read without a mistake, with the value of
// the key at path changed or added, and everything else, comments and line ends included, as it
// was. All keys of path but the last must be there, and the key beside too, beside the last one.
// Where a lone value stands for the mapping with the last key, it becomes the key beside. name is
// for errors.
func SetKey(name string, text []byte, path []string, beside, value string) ([]byte, error) {
	n, err := follow(text, path[:len(path)-1])
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", name, err)
	}
	last, value := path[len(path)-1], strconv.Quote(value)
	var at, end int
	var with string
	replace := func(old *yaml.Node) {
		at = offset(text, old.Line, old.Column)
		end = at + written(text[at:], old)
	}
	key, other := pairOf(n, beside)
	switch old := valueOf(n, last); {
	case n.Kind == yaml.AliasNode:
		return nil, fmt.Errorf("edit %s:%d: what an alias stands for is not edited: write %s: %s by hand", name,
			n.Line, last, value)
	case n.Kind == yaml.ScalarNode:
		replace(n)
		with = fmt.Sprintf("{%s: %s, %s: %s}", beside, text[at:end], last, value)
	case old != nil:
		replace(old)
		with = value
	case other == nil:
		return nil, fmt.Errorf("edit %s: there is no key %s beside %s", name, beside, strings.Join(path, "."))
	case n.Style&yaml.FlowStyle != 0:
		at = offset(text, key.Line, key.Column)
		end, with = at, last+": "+value+", "
	default:
		at = offset(text, other.Line, other.Column)
		line, _, _ := bytes.Cut(text[at:], []byte("\n"))
		content := bytes.TrimSuffix(line, []byte("\r"))
		at += len(content)
		end, with = at, "\n"+strings.Repeat(" ", n.Content[0].Column-1)+last+": "+value
		if len(content) < len(line) {
			with = "\r" + with
		}
	}
	edited := slices.Concat(text[:at], []byte(with), text[end:])
	if set, err := follow(edited, path); err != nil || strconv.Quote(set.Value) != value {
		return nil, fmt.Errorf("edit %s:%d: the value is not written in a way that this command can edit: write %s: "+
			"%s by hand", name, n.Line, last, value)
	}
	return edited, nil
}

// follow returns the value at path in a document.
func follow(text []byte, path []string) (*yaml.Node, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	n := &root
	if len(root.Content) > 0 {
		n = root.Content[0]
	}
	for _, key := range path {
		if n = valueOf(n, key); n == nil {
			return nil, fmt.Errorf("there is no key %s", strings.Join(path, "."))
		}
	}
	return n, nil
}

func valueOf(n *yaml.Node, name string) *yaml.Node {
	_, value := pairOf(n, name)
	return value
}

func pairOf(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// offset returns where a line and column, in characters from 1, are in the text.
func offset(text []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(text[at:], '\n') + 1
	}
	for i := range string(text[at:]) {
		if column--; column == 0 {
			return at + i
		}
	}
	return len(text)
}

// written returns how many bytes the value of n takes at the beginning of text, 0 if that is not
// plain to see.
func written(text []byte, n *yaml.Node) int {
	for _, quote := range []string{"", `"`, "'"} {
		if whole := quote + n.Value + quote; n.Value != "" && bytes.HasPrefix(text, []byte(whole)) {
			return len(whole)
		}
	}
	return 0
}
