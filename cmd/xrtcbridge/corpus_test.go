package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

var writeCorpus = flag.Bool("write-corpus", false, "make testdata/broken.txtar anew from the examples")

const (
	corpusFile = "testdata/broken.txtar"
	corpusSize = 200
	corpusSeed = 14
)

// Each file of the corpus is an example with one mistake, and is called NUMBER-KIND-LINE-KEY.yaml.
// The mistake is named in its line, and of keys that are misspelt, which one was meant.
func TestCorpusOfBrokenFiles(t *testing.T) {
	if *writeCorpus {
		if err := os.WriteFile(corpusFile, txtar.Format(newCorpus(t)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := txtar.ParseFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	var misspelt, meant int
	for _, f := range archive.Files {
		words := strings.SplitN(strings.TrimSuffix(f.Name, ".yaml"), "-", 4)
		line, err := strconv.Atoi(words[2])
		if err != nil {
			t.Fatal(err)
		}
		mistakes := mistakesIn(t, f.Name, f.Data)
		i := slices.IndexFunc(mistakes, func(e *config.Error) bool { return e.Line == line })
		if i < 0 {
			t.Errorf("%s: no mistake in line %d: %v", f.Name, line, mistakes)
			continue
		}
		if words[1] == "misspelt" {
			misspelt++
			if strings.Contains(mistakes[i].Hint, "did you mean "+words[3]+"?") {
				meant++
			} else {
				t.Logf("%v", mistakes[i])
			}
		}
	}
	t.Logf("%d files; of %d misspelt keys, %d are told (%d %%)", len(archive.Files), misspelt, meant,
		100*meant/max(1, misspelt))
	if len(archive.Files) != corpusSize || misspelt < corpusSize/2 || 100*meant < 95*misspelt {
		t.Error("that is too few")
	}
}

// mistakesIn reads a file with the connectors that are built in, where each variable but NOT_SET
// has a value.
func mistakesIn(t *testing.T, name string, text []byte) (mistakes config.Errors) {
	l := wholeLoader(t)
	l.Getenv = func(name string) (string, bool) { return "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4", name != "NOT_SET" }
	_, err := l.Parse(filepath.Join(t.TempDir(), name), text)
	if err != nil && !errors.As(err, &mistakes) {
		t.Fatal(err)
	}
	return mistakes
}

// wholeLoader returns a loader of whole files with the connectors that are built in, which starts no
// plugin.
func wholeLoader(t *testing.T) config.Loader {
	t.Helper()
	k := new(pluginFolders).catalog(slog.New(slog.DiscardHandler))
	t.Cleanup(k.close)
	l := k.loader(t.Context())
	l.Prepare, l.Find = nil, nil
	plugins := l.Sections["plugins"]
	l.Sections, l.ServersKey = sectionsOf(allSections()), "embedded"
	l.Sections["plugins"] = plugins
	return l
}

// spot is a key of a file with its value.
type spot struct{ parent, key, value *yaml.Node }

// newCorpus makes the corpus of all examples that can be read without plugins.
func newCorpus(t *testing.T) *txtar.Archive {
	r := rand.New(rand.NewPCG(corpusSeed, 0))
	var examples [][]byte
	files, _ := filepath.Glob("../../examples/*/pipelines.yaml")
	for _, name := range append(files, "../../pipelines.yaml") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, text)
	}
	all := builtin()
	for _, name := range all.Names() {
		c, _ := all.Lookup(name)
		examples = append(examples, []byte(c.Example))
	}
	examples = slices.DeleteFunc(examples, func(text []byte) bool { return len(mistakesIn(t, "whole", text)) > 0 })
	archive := &txtar.Archive{Comment: []byte(fmt.Sprintf(
		"Examples with one mistake each, by go test -run Corpus -write-corpus, seed %d. "+
			"A name is NUMBER-KIND-LINE-KEY.\n", corpusSeed))}
	seen := make(map[string]bool)
	for len(archive.Files) < corpusSize {
		text := string(examples[r.IntN(len(examples))])
		kind := "misspelt"
		if len(archive.Files)%5 > 2 {
			kind = []string{"type", "unset", "expression", "tab", "twice", "braces", "alias", "colon", "space"}[r.IntN(9)]
		}
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(text), &root); err != nil {
			t.Fatal(err)
		}
		spots := spotsOf(nil, root.Content[0], "")
		s := spots[r.IntN(len(spots))]
		broken := breakAt(r, text, kind, s)
		if broken == "" || seen[broken] {
			continue
		}
		seen[broken] = true
		line := s.key.Line
		if kind == "twice" {
			line++
		}
		archive.Files = append(archive.Files, txtar.File{
			Name: fmt.Sprintf("%03d-%s-%d-%s.yaml", len(archive.Files), kind, line, s.key.Value), Data: []byte(broken),
		})
	}
	return archive
}

// spotsOf returns the keys that have a meaning, and are no names that the user has chosen.
func spotsOf(all []spot, n *yaml.Node, under string) []spot {
	chosen := slices.Contains([]string{
		"pipelines", "connections", "plugins", "accounts", "streams", "header", "headers", "set", "map", "schema",
		"columns", "types",
	}, under)
	for i, c := range n.Content {
		switch {
		case n.Kind != yaml.MappingNode:
			all = spotsOf(all, c, "")
		case i%2 == 0:
			if value := n.Content[i+1]; !chosen && value.Value+value.Tag != "!!null" {
				all = append(all, spot{n, c, value})
			}
			if under != "set" && under != "map" {
				all = spotsOf(all, n.Content[i+1], c.Value)
			}
		}
	}
	return all
}

// breakAt returns the text with a mistake of that kind at s, empty if there is no place for it.
func breakAt(r *rand.Rand, text, kind string, s spot) string {
	lines := strings.Split(text, "\n")
	line := lines[s.key.Line-1]
	before, after := line[:s.key.Column-1], line[s.key.Column-1+len(s.key.Value):]
	plain := s.value.Kind == yaml.ScalarNode && s.value.Line == s.key.Line && s.value.Style == 0 &&
		s.parent.Style&yaml.FlowStyle == 0
	colon := before + s.key.Value + ": "
	switch key := s.key.Value; {
	case strings.Contains(before, "#") || s.key.Style != 0 || !strings.HasPrefix(after, ":"):
		return ""
	case kind == "misspelt" && len(key) > 3:
		line = before + misspell(r, key) + after
	case kind == "tab" && strings.TrimSpace(before) == "" && len(before) > 2:
		line = "\t" + line[2:]
	case kind == "colon" && s.parent.Style&yaml.FlowStyle == 0 && plain:
		line = before + key + after[1:]
	case kind == "space" && plain && after != ":" && s.value.Tag == "!!str":
		line = colon + s.value.Value + ": x"
	case !plain:
		return ""
	case kind == "type":
		line = colon + "{oops: [1]}"
	case kind == "unset":
		line = colon + `"${NOT_SET}"`
	case kind == "expression" && slices.Contains([]string{"topic", "subject", "portal"}, key):
		line = colon + `"{{ topik }}"`
	case kind == "braces":
		line = colon + "{{ topic }}"
	case kind == "alias":
		line = colon + "*nowhere"
	case kind == "twice" && strings.TrimSpace(before) == "":
		line += "\n" + line
	default:
		return ""
	}
	lines[s.key.Line-1] = line
	return strings.Join(lines, "\n")
}

// misspell returns a word with a letter left out, doubled, changed, or exchanged with the next.
func misspell(r *rand.Rand, word string) string {
	for {
		b := []byte(word)
		i := r.IntN(len(b) - 1)
		switch r.IntN(4) {
		case 0:
			b = slices.Delete(b, i, i+1)
		case 1:
			b = slices.Insert(b, i, b[i])
		case 2:
			b[i] = byte('a' + r.IntN(26))
		case 3:
			b[i], b[i+1] = b[i+1], b[i]
		}
		if string(b) != word {
			return string(b)
		}
	}
}
