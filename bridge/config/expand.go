package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// word is what may be filled in within an expression: nothing that could
// change what the rest of it means.
var word = regexp.MustCompile(`^[\pL\pN_.:/@#+-]*$`)

// mistakesInValue bounds what is reported of one value, since finding places in
// a long one takes long.
const mistakesInValue = 10

// reference is a ${…} in a part of the value of a node.
type reference struct {
	node *yaml.Node
	part expr.Part
	at   int // where it begins in the text of the part, in bytes
}

// failAt records a mistake in a reference. Finding its place takes as long as
// the line is, so it is not looked for when nobody is going to see it.
func (w *walker) failAt(r reference, message, hint string) {
	if w.quiet || len(w.errs) > maxErrors {
		w.failed++
		return
	}
	w.fail(w.within(r.node, r.part.Offset+utf8.RuneCountInString(r.part.Text[:r.at])), message, hint)
}

// expand fills in each ${…} of a text in n, which is all of its value or a
// part of the template there. ok is false if it recorded a mistake.
func (w *walker) expand(n *yaml.Node, p expr.Part) (text string, ok bool) {
	var b strings.Builder
	before := w.failed
	for rest := p.Text; ; {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String(), w.failed == before
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		r := reference{n, p, len(p.Text) - len(rest) + i}
		inner, after, closed := strings.Cut(rest[i+2:], "}")
		if !closed {
			w.failAt(r, "${ has no closing }", "write $${ for the characters ${")
			return "", false
		}
		if w.failed-before == mistakesInValue {
			return "", false
		}
		value := w.fillIn(r, inner)
		if p.Code && !word.MatchString(value) {
			w.failAt(r, "what ${…} stands for is not one plain word or number, so it cannot be part of an expression",
				"letters, digits and _.:/@#+- are allowed")
		}
		b.WriteString(value)
		rest = after
	}
}

// fillIn returns what r, which is ${inner}, stands for.
func (w *walker) fillIn(r reference, inner string) string {
	if path, ok := strings.CutPrefix(inner, "file:"); ok {
		return w.fileContent(r, path)
	}
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	switch {
	case !variable.MatchString(name):
		w.failAt(r, "${…} does not name a variable", "write ${NAME}, ${NAME:-default} or ${file:path}, or $${ for the characters ${")
		return ""
	case strings.Contains(fallback, "${"):
		w.failAt(r, "the default of ${"+name+"} holds another ${…}, which is not supported", "")
		return ""
	}
	value, set := w.Getenv(name)
	switch {
	case hasFallback && value == "":
		return fallback
	case !set:
		w.failAt(r, "the variable "+name+" is not set", "set it in the environment, or write ${"+name+":-default}")
	}
	return value
}

func (w *walker) fileContent(r reference, path string) string {
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(w.dir, path)
	}
	text, err := readRegular(full, maxFile)
	if err != nil {
		w.failAt(r, "${file:}: "+err.Error(), "")
		return ""
	}
	s := strings.TrimSuffix(string(text), "\n")
	return strings.TrimSuffix(s, "\r")
}

// readRegular reads a file of at most that many bytes. Others than regular
// files might never end.
func readRegular(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return text, err
}
