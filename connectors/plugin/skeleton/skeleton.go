// Package skeleton has what a new connector plugin begins with, in each language that there is a helper for.
package skeleton

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed all:go all:python all:node
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
		{"python", "./build.sh", "python3 with grpcio, protobuf and cryptography (Debian: python3-grpcio python3-protobuf python3-cryptography)"},
		{"node", "npm install && npm run build", "Node.js 20 or later with npm"},
	}
}

// Plugin says what to write.
type Plugin struct {
	Name     string // of plugin and connector; see host.CheckName
	Language string // the Name of one of Languages

	// Module is where the module of this project is if not where Go finds modules, a folder relative to that of the
	// plugin. Version is the version to require otherwise. Both are for Go only.
	Module, Version string
}

// suffix of files in which placeholders stand.
const template = ".tmpl"

// Write makes the new folder dir and writes the files of p into it. If that fails nothing is left.
func Write(dir string, p Plugin) error {
	if !slices.ContainsFunc(Languages(), func(l Language) bool { return l.Name == p.Language }) {
		return fmt.Errorf("there is no skeleton in %q", p.Language)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make folder for plugin: %w", err)
	}
	fill := p.fill()
	err := fs.WalkDir(files, p.Language, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(name, p.Language+"/")
		if base, ok := strings.CutSuffix(to, template); ok {
			to, text = base, []byte(fill.Replace(string(text)))
		}
		return write(filepath.Join(dir, filepath.FromSlash(to)), text)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("write plugin: %w", err), os.RemoveAll(dir))
	}
	return nil
}

func write(name string, text []byte) error {
	mode := fs.FileMode(0o644)
	if path.Ext(name) == ".sh" {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, mode)
}

// fill returns what stands for the placeholders.
func (p Plugin) fill() *strings.Replacer {
	var class strings.Builder
	for word := range strings.FieldsFuncSeq(p.Name, func(r rune) bool { return r == '-' || r == '_' }) {
		class.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	require := ""
	if p.Version != "" {
		require = "\nrequire github.com/xrtcbridge/xrtcbridge " + p.Version + "\n"
	}
	if p.Module != "" {
		require += "\nreplace github.com/xrtcbridge/xrtcbridge => " + p.Module + "\n"
	}
	return strings.NewReplacer("{{NAME}}", p.Name, "{{CLASS}}", class.String(), "{{REQUIRE}}", require)
}
