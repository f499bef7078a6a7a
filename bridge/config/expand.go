package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
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
	if w.verbatim {
		return p.Text, true
	}
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
	if name, ok := strings.CutPrefix(inner, "cred:"); ok {
		return w.credential(r, name)
	}
	if name, isList := strings.CutPrefix(inner, listPrefix); isList {
		if w.guesses != nil && w.item != nil && *w.item == "" { // items that are known are not empty
			return w.environment(r, name, "${"+listPrefix)
		}
		if w.item == nil {
			w.failAt(r, "${list:…} stands for a list, and here is none wanted",
				"it is all of a value, or of an item, where a list of texts or numbers is wanted")
			return ""
		}
		w.note(r.node, inner, *w.item)
		return *w.item
	}
	return w.environment(r, inner, "${")
}

// environment returns the variable that r, which is ${inner}, names; form is what it begins with.
func (w *walker) environment(r reference, inner, form string) string {
	name, op, word := inner, "", ""
	if i := strings.IndexByte(inner, ':'); i >= 0 && i+1 < len(inner) {
		name, op, word = inner[:i], inner[i:i+2], inner[i+2:]
	}
	switch {
	case !variable.MatchString(name) || op != "" && op != ":-" && op != ":?":
		w.failAt(r, "${…} does not name a variable",
			"write ${NAME}, ${NAME:-default}, ${file:path} or ${cred:NAME}, or $${ for the characters ${")
		return ""
	case strings.Contains(word, "${"):
		w.failAt(r, "the default of ${"+name+"} holds another ${…}, which is not supported", "")
		return ""
	}
	if w.guesses != nil && op == ":-" {
		return word
	}
	if w.guesses != nil {
		return w.placeholder(r.node, inner, name)
	}
	value, set := w.Getenv(name)
	switch {
	case op == ":-" && value == "":
		return word
	case op == ":?" && set && value == "":
		w.failAt(r, "the variable "+name+" is empty", word)
	case op == ":?" && !set:
		w.failAt(r, "the variable "+name+" is not set", word)
	case !set:
		w.failAt(r, "the variable "+name+" is not set", "set it in the environment, or write "+form+name+":-default}")
	}
	w.note(r.node, inner, value)
	return value
}

const listPrefix = "list:"

// list returns the items that ${list:…} stands for, if that is all of n.
func (w *walker) list(n *yaml.Node) (items []string, is bool) {
	inner, is := strings.CutPrefix(n.Value, "${"+listPrefix)
	inner, closed := strings.CutSuffix(inner, "}")
	if n.Kind != yaml.ScalarNode || w.verbatim || !is || !closed || strings.Contains(inner, "}") {
		return nil, false
	}
	if w.guesses != nil && !strings.Contains(inner, ":-") {
		return []string{""}, true // which fillIn knows
	}
	value := w.environment(reference{n, expr.Part{Text: n.Value}, 0}, inner, "${"+listPrefix)
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items, true
}

func (w *walker) fileContent(r reference, path string) string {
	if w.guesses != nil {
		return w.placeholder(r.node, "file:"+path, "file:"+path)
	}
	text, err := w.readFile(w.located(r.node, path), maxFile)
	if err != nil {
		w.failAt(r, "${file:}: "+err.Error(), "")
		return ""
	}
	return w.content(r.node, "file:"+path, text)
}

// content returns what ${inner} within n stands for, which is in a file.
func (w *walker) content(n *yaml.Node, inner string, text []byte) string {
	s := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	w.note(n, inner, s)
	return s
}

// credentials is the variable with the folder in which a service manager leaves secrets.
const credentials = "CREDENTIALS_DIRECTORY"

// credential returns what the service manager has handed over by that name.
func (w *walker) credential(r reference, name string) string {
	if name == "." || strings.ContainsAny(name, `/\: `) || !filepath.IsLocal(name) {
		w.failAt(r, "${cred:…} does not name a credential",
			"write ${cred:NAME}, with the NAME of LoadCredential=NAME:/path/to/file in the unit; there is no default")
		return ""
	}
	if w.guesses != nil {
		return w.placeholder(r.node, "cred:"+name, "cred:"+name)
	}
	dir, _ := w.Getenv(credentials)
	if dir == "" {
		w.failAt(r, "there is no credential "+name+": "+credentials+
			" is not set, as systemd does for a unit that has credentials",
			"write LoadCredential="+name+":/path/to/file into the unit's section [Service]; without systemd, "+
				"let "+credentials+" be a folder with the file "+name)
		return ""
	}
	text, err := w.readFile(filepath.Join(dir, name), maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.failAt(r, "there is no credential "+name+": "+err.Error(), otherCredential(dir, name)+
			"write LoadCredential="+name+":/path/to/file into the unit's section [Service], and restart it")
		return ""
	case err != nil:
		w.failAt(r, "${cred:"+name+"}: "+err.Error(), "")
		return ""
	}
	return w.content(r.node, "cred:"+name, text)
}

// otherCredential asks for the one that may be meant.
func otherCredential(dir, name string) string {
	var names []string
	entries, _ := os.ReadDir(dir) // who may not list it gets no help
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := suggest.Nearest(name, names); near != "" {
		return "did you mean " + near + "? or "
	}
	return ""
}

// located returns a path as it is to be used: what is relative is so to the folder of the file, and
// ~ is the home folder.
func (w *walker) located(n *yaml.Node, path string) string {
	user, _, _ := strings.Cut(path, "/")
	home, err := os.UserHomeDir()
	switch {
	case user == "~" && w.guesses != nil:
		return w.placeholder(n, "HOME", "HOME") + path[1:]
	case user == "~" && err != nil:
		w.fail(n, "~ stands for the home folder, and there is none: "+err.Error(), "write the path in full")
	case user == "~":
		return home + path[1:]
	case strings.HasPrefix(user, "~") && user != path:
		w.fail(n, "the home folder of another user is not filled in",
			"write the path in full, or ./ in front of a folder of that name")
	case path != "" && !filepath.IsAbs(path) && w.dir != ".":
		return w.dir + string(filepath.Separator) + path
	}
	return path
}

// maxFile is how many bytes a file of a configuration has at most.
const maxFile = 1 << 20
