// Package skeleton has what a new connector plugin begins with, in each language that there is a
// helper for.
package skeleton

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed *.tmpl all:go all:python all:node
var files embed.FS

// Language is what a skeleton is written in.
type Language struct {
	Name  string
	Build string // the command that builds and tests the plugin, run in its folder
	Needs string // what must be installed for that
}

// Languages returns those that there are skeletons for, Go first.
func Languages() []Language {
	return []Language{
		{"go", "./build.sh", "Go"},
		{
			"python", "./build.sh",
			"python3 with grpcio, protobuf and cryptography (Debian: python3-grpcio python3-protobuf python3-cryptography)",
		},
		{"node", "npm install --ignore-scripts && npm run build", "Node.js 20 or later with npm"},
	}
}

// Kinds returns what a connector can be.
func Kinds() []string { return []string{"source", "step", "sink"} }

// Plugin says what to write.
type Plugin struct {
	Name     string   // of plugin and connector; see host.CheckName
	Language string   // the Name of one of Languages
	Kinds    []string // of Kinds, one at least

	// Module is where the module of this project is if not where Go finds modules, a folder, maybe
	// relative to that of the plugin. Version is the version to require otherwise. Both are for Go
	// only.
	Module, Version string
}

// suffix of files that are templates.
const suffix = ".tmpl"

// Write makes the new folder dir and writes the files of p into it. If that fails nothing is left.
func Write(dir string, p Plugin) error {
	if !slices.ContainsFunc(Languages(), func(l Language) bool { return l.Name == p.Language }) {
		return fmt.Errorf("there is no skeleton in %q", p.Language)
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and stays as it is: choose another name or folder, or remove it", dir)
	}
	if err != nil {
		return fmt.Errorf("make folder for plugin: %w", err)
	}
	shared, err := template.ParseFS(files, "*"+suffix)
	if err == nil {
		err = fs.WalkDir(files, p.Language, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !p.wants(path.Base(name)) {
				return err
			}
			return p.write(shared, dir, name)
		})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write plugin: %w", err), os.RemoveAll(dir))
	}
	return nil
}

// wants reports whether a file belongs to a plugin of these kinds: those of one kind bear its name.
func (p Plugin) wants(file string) bool {
	for _, kind := range Kinds() {
		if strings.HasPrefix(strings.TrimPrefix(file, "test_"), kind) {
			return p.is(kind)
		}
	}
	return true
}

func (p Plugin) write(shared *template.Template, dir, name string) error {
	text, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	to := strings.TrimPrefix(name, p.Language+"/")
	if base, ok := strings.CutSuffix(to, suffix); ok {
		t, err := template.Must(shared.Clone()).New(base).Parse(string(text))
		if err != nil {
			return err
		}
		var filled bytes.Buffer
		if err := t.Execute(&filled, p); err != nil {
			return err
		}
		to, text = base, filled.Bytes()
	}
	mode := fs.FileMode(0o644)
	if path.Ext(to) == ".sh" {
		mode = 0o755
	}
	return os.WriteFile(filepath.Join(dir, to), text, mode)
}

func (p Plugin) is(kind string) bool { return slices.Contains(p.Kinds, kind) }

// Source reports whether it is to be one, for the templates, as do the next two.
func (p Plugin) Source() bool { return p.is("source") }

// Step reports whether it is to be one.
func (p Plugin) Step() bool { return p.is("step") }

// Sink reports whether it is to be one.
func (p Plugin) Sink() bool { return p.is("sink") }

// Class returns the name as part of the name of a class.
func (p Plugin) Class() string {
	var class strings.Builder
	for word := range strings.FieldsFuncSeq(p.Name, func(r rune) bool { return r == '-' || r == '_' }) {
		class.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return class.String()
}

// Summary says what it does, in a line.
func (p Plugin) Summary() string {
	var all []string
	for kind, does := range map[string]string{"source": "counts", "step": "marks messages", "sink": "logs messages"} {
		if p.is(kind) {
			all = append(all, does)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Try returns commands to try it with, run in its folder once it is built.
func (p Plugin) Try() (all []string) {
	const run = "xrtcbridge run --plugin-dir . "
	if p.Source() {
		all = append(all, run+"--from "+p.Name+",count=3 --to stdio")
	}
	if p.Step() {
		all = append(all, "echo hello | "+run+"--from stdio --step "+p.Name+" --to stdio")
	}
	if p.Sink() {
		all = append(all, "echo hello | "+run+"--from stdio --to "+p.Name)
	}
	return all
}
