package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// guessed reads a file with placeholders.
func guessed(t *testing.T, name string, text []byte) (names []string, mistakes config.Errors) {
	t.Helper()
	l := wholeLoader(t)
	l.Getenv = func(name string) (string, bool) {
		t.Errorf("%s is read", name)
		return "", false
	}
	l.Placeholders = 1
	c, err := l.Parse(name, text)
	if err != nil && !errors.As(err, &mistakes) {
		t.Fatal(err)
	}
	return c.Placeholders, mistakes
}

// exampleFiles returns the files of the tree that need no plugin.
func exampleFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{
		"examples/*/pipelines.yaml", "connectors/*/example.yaml", "bridge/step/*.yaml", "pipelines.yaml",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return slices.DeleteFunc(files, func(name string) bool {
		text, err := os.ReadFile(name)
		return err != nil || strings.Contains(string(text), "\nplugins:")
	})
}

// What is written as a value anywhere may be a variable, whatever type it has and whatever else
// must fit to it; and what is a mistake without them is one with all of them.
func TestPlaceholderInPlaceOfAnyValue(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, name := range exampleFiles(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		values := scalars(&doc, "")
		for at, path := range values {
			was := *at
			at.Value, at.Tag, at.Style = "${SOME:?set it}", "!!str", yaml.DoubleQuotedStyle
			names, mistakes := guessed(t, name, marshalled(t, &doc))
			if len(mistakes) > 0 || !slices.Contains(names, "SOME") {
				t.Errorf("%s: %s: placeholders for %v, mistakes: %v", name, path, names, mistakes)
			}
			tried++
			*at = was
		}
		for at := range values {
			form := []string{"${file:%d/%d}", "${cred:%d.%d}"}[at.Line%2]
			at.Value, at.Tag, at.Style = fmt.Sprintf(form, at.Line, at.Column), "!!str", yaml.DoubleQuotedStyle
		}
		if _, mistakes := guessed(t, name, marshalled(t, &doc)); len(mistakes) > 0 {
			t.Errorf("%s: all values: %v", name, mistakes)
		}
	}
	if t.Logf("%d values", tried); tried < 300 {
		t.Error("that is too few")
	}
}

func marshalled(t *testing.T, doc *yaml.Node) []byte {
	t.Helper()
	text, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// scalars returns the values of a node with their paths, but for those where nothing is filled in.
func scalars(n *yaml.Node, path string) map[*yaml.Node]string {
	all := make(map[*yaml.Node]string)
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if slices.Contains([]string{"connection", "buffer", "restart"}, key) {
				continue
			}
			maps.Copy(all, scalars(n.Content[i+1], path+"."+key))
		}
	case yaml.ScalarNode:
		last := path[strings.LastIndexByte(path, '.')+1:]
		if n.Tag != "!!null" &&
			!slices.Contains([]string{"to", "from", "steps", "all", "any", "share", "route", "dead_letter"}, last) {
			all[n] = path
		}
	default:
		for _, c := range n.Content {
			maps.Copy(all, scalars(c, path))
		}
	}
	return all
}

// Of the corpus of broken files the mistakes are those that are found with values, in files that
// have no variables.
func TestPlaceholdersHideNoMistake(t *testing.T) {
	archive, err := txtar.ParseFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, f := range archive.Files {
		want := mistakesIn(t, f.Name, f.Data)
		_, got := guessed(t, f.Name, f.Data)
		if strings.Contains(string(f.Data), "${") {
			continue
		}
		for _, e := range want {
			e.File = f.Name
		}
		if diff := cmp.Diff(want.Error(), got.Error()); diff != "" {
			t.Errorf("%s: %s", f.Name, diff)
		}
		same++
	}
	if t.Logf("%d files", same); same < corpusSize/2 {
		t.Error("that is too few")
	}
}
