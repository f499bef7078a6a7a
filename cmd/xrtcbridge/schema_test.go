package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// schemaCheck compares what the decoder says of a file with what the schema says.
type schemaCheck struct {
	schema *jsonschema.Schema
	loader func() config.Loader
}

// sectionsOf returns where a loader puts each section.
func sectionsOf(s *sections) map[string]any {
	return map[string]any{
		"plugins": &s.Plugins, "embedded": &s.Embedded, "state": &s.State,
		"admin": &s.Admin, "log": &s.Log, "telemetry": &s.Telemetry,
	}
}

func newSchemaCheck(t *testing.T) schemaCheck {
	t.Helper()
	registry := builtin()
	if err := registry.Add(counting()); err != nil {
		t.Fatal(err)
	}
	loader := func() config.Loader {
		return config.Loader{
			Registry:   registry,
			Sections:   sectionsOf(allSections()),
			ServersKey: "embedded",
			Getenv:     func(string) (string, bool) { return testKey, true },
		}
	}
	text, err := loader().Schema(allSections())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	c.AssertFormat()
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schemaCheck{s, loader}
}

// structural is what the decoder says of mistakes that the schema must find, too.
var structural = regexp.MustCompile(`^unknown (key|connector|step)|is missing$|must be (a mapping|a list)|` +
	`, not (a mapping|a list|nothing)$|has no value$|there is no (connector|step) here|an entry has one connector|` +
	`a step has one key|steps is empty|cannot be a (source|sink|step)$|is an empty list$|by goes with share`)

// compare returns where the verdicts differ: what the decoder takes the schema must take, and what
// has a structural mistake it must refuse. It returns also whether the schema refuses it.
func (c schemaCheck) compare(text []byte) (refused bool, err error) {
	var root yaml.Node
	if yaml.Unmarshal(text, &root) != nil || len(root.Content) == 0 {
		return false, nil //nolint:nilerr // what is no YAML has nothing to validate
	}
	_, err = c.loader().Parse("f.yaml", text)
	invalid := c.schema.Validate(plainValue(root.Content[0]))
	if err == nil && invalid != nil {
		return true, fmt.Errorf("the decoder takes it, and the schema does not: %w", invalid)
	}
	lines := strings.Split(string(text), "\n")
	var mistakes config.Errors
	errors.As(err, &mistakes)
	for _, m := range mistakes {
		around := strings.Join(lines[max(0, m.Line-2):min(len(lines), m.Line+2)], "")
		if strings.HasSuffix(m.Message, "is missing") && strings.Contains(around, "connection:") {
			continue // the connection may have it
		}
		if structural.MatchString(m.Message) && invalid == nil {
			return false, fmt.Errorf("the schema takes it, and the decoder does not: %w", m)
		}
	}
	return invalid != nil, nil
}

// plainValue is a node as JSON, by the core schema of YAML 1.2, which editors use.
func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, plainValue(item))
		}
		return list
	case yaml.MappingNode:
		m := make(map[string]any)
		merged := make(map[string]any)
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], plainValue(n.Content[i+1])
			if from, is := value.(map[string]any); is && key.Tag == "!!merge" {
				maps.Copy(merged, from)
				continue
			}
			m[key.Value] = value
		}
		maps.Copy(merged, m)
		return merged
	case yaml.AliasNode:
		return plainValue(n.Alias)
	default:
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err == nil {
			if i, is := v.(int); is {
				return float64(i)
			}
			return v
		}
	}
	return n.Value
}

// shownYAML returns the YAML files that we show or ship, by name.
func shownYAML(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for i, b := range blocks(t, "README.md", "yaml") {
		all["README.md "+strconv.Itoa(i)] = b
	}
	for _, c := range append(connectors.Builtin(), counting()) {
		all[c.Name] = c.Example
	}
	for _, pattern := range []string{"../../pipelines.yaml", "../../examples/*/pipelines.yaml", "testdata/perf/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(f, "plugin-") { // they want connectors that are not there
				all[f] = string(text)
			}
		}
	}
	for name, text := range all {
		if strings.Contains(text, "clock:") { // the README's plugin
			delete(all, name)
		}
	}
	return all
}

// Everything that we show validates against the schema.
func TestSchemaTakesWhatWeShow(t *testing.T) {
	c := newSchemaCheck(t)
	for name, text := range shownYAML(t) {
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(text), &root); err != nil {
			t.Fatal(name, err)
		}
		if err := c.schema.Validate(plainValue(root.Content[0])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of each file in the tree, good or bad, decoder and schema say the same.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	t.Parallel()
	c := newSchemaCheck(t)
	files := make(map[string][]byte)
	for _, pattern := range []string{
		"../../bridge/config/testdata/*.yaml", "../../examples/*/*.yaml",
		"testdata/*/*.yaml", "testdata/script/*.txtar",
	} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(name) == ".yaml" {
				files[name] = text
				continue
			}
			for _, f := range txtar.Parse(text).Files {
				if filepath.Ext(f.Name) == ".yaml" {
					files[name+" "+f.Name] = f.Data
				}
			}
		}
	}
	if len(files) < 60 {
		t.Fatalf("there are %d files only", len(files))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, err := c.compare(files[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each key and value of each file that we show is broken in each way, and decoder and schema say
// the same of it.
func TestSchemaAgreesWithDecoderOnMutations(t *testing.T) {
	t.Parallel()
	c := newSchemaCheck(t)
	values := []string{
		"null", "[]", "{}", "{zzz: 1}", "[[a]]", "5", "true", "text", "10s", "0", "1.5", "10MB",
		"'${X}'", "-1", "[1, a]",
	}
	tried, refused := 0, 0
	for name, text := range shownYAML(t) {
		if strings.Contains(name, "/") {
			continue // it has nothing that the README and the connectors' examples do not have
		}
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(text), &root); err != nil {
			t.Fatal(name, err)
		}
		check := func(what string) {
			t.Helper()
			broken, err := yaml.Marshal(&root)
			if err != nil {
				t.Fatal(err)
			}
			no, err := c.compare(broken)
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			tried++
			if no {
				refused++
			}
		}
		var mutate func(n *yaml.Node, path string)
		mutate = func(n *yaml.Node, path string) {
			if n.Kind == yaml.MappingNode {
				whole := n.Content
				for i := 0; i < len(whole); i += 2 {
					key := whole[i].Value
					whole[i].Value = "zz" + key
					check(path + "." + key + " renamed")
					whole[i].Value = key
					n.Content = slices.Delete(slices.Clone(whole), i, i+2)
					check(path + "." + key + " removed")
					n.Content = whole
				}
				n.Content = append(slices.Clone(whole), &yaml.Node{Kind: yaml.ScalarNode, Value: "zzz"},
					&yaml.Node{Kind: yaml.ScalarNode, Value: "1"})
				check(path + " with another key")
				n.Content = whole
			}
			before := *n
			for _, v := range values {
				var other yaml.Node
				if err := yaml.Unmarshal([]byte(v), &other); err != nil {
					t.Fatal(err)
				}
				*n = *other.Content[0]
				check(path + " is " + v)
			}
			*n = before
			for i, inner := range n.Content {
				switch {
				case n.Kind == yaml.SequenceNode:
					mutate(inner, fmt.Sprintf("%s[%d]", path, i))
				case n.Kind == yaml.MappingNode && i%2 == 1:
					mutate(inner, path+"."+n.Content[i-1].Value)
				}
			}
		}
		mutate(root.Content[0], "")
	}
	t.Logf("%d files, of which the schema refused %d", tried, refused)
	if refused < tried/4 {
		t.Error("it refuses few")
	}
}

// Each key in the schema says what it is.
func TestSchemaDescribesEachKey(t *testing.T) {
	text, err := (config.Loader{Registry: builtin()}).Schema(allSections())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	var look func(v any, path string)
	look = func(v any, path string) {
		switch v := v.(type) {
		case []any:
			for i, item := range v {
				look(item, fmt.Sprint(path, "/", i))
			}
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for key, p := range properties {
				keys++
				o := p.(map[string]any)
				ref, _ := o["$ref"].(string)
				described, _ := doc.(map[string]any)["$defs"].(map[string]any)[strings.TrimPrefix(ref,
					"#/$defs/")].(map[string]any)
				if o["description"] == nil && described["description"] == nil || o["description"] == "a mapping" {
					t.Errorf("%s: nothing is said of %s", path, key)
				}
			}
			for key, inner := range v {
				look(inner, path+"/"+key)
			}
		}
	}
	look(doc, "")
	if keys < 200 {
		t.Errorf("there are %d keys", keys)
	}
}
