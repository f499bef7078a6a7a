package config

import (
	"reflect"

	"gopkg.in/yaml.v3"
)

// LoadSections reads the Sections of the files and calls Prepare, and does not look at anything
// else in them: for tools that need no pipelines. It returns the names of these. An error is
// [Errors] unless a file cannot be read.
func (l Loader) LoadSections(files ...string) (pipelines []string, err error) {
	r := l.start()
	r.sectionsOnly = true
	if err := r.read(files); err != nil {
		return nil, err
	}
	r.tops()
	for _, d := range r.docs {
		if n := d.keys["pipelines"]; n != nil {
			d.pairs(n, func(key, _ *yaml.Node) { pipelines = append(pipelines, key.Value) })
		}
	}
	return pipelines, r.errs.tidy()
}

// Decode reads a file that holds nothing but settings into the struct that target points to, with
// the rules of all configuration; Registry and Sections are not used. An error is [Errors] unless
// the file cannot be read.
func (l Loader) Decode(name string, target any) error {
	_, err := l.DecodePlaces(name, target)
	return err
}

// DecodePlaces is Decode, and returns where the keys are.
func (l Loader) DecodePlaces(name string, target any) (Places, error) {
	r := l.start()
	r.settingsOnly = true
	if err := r.read([]string{name}); err != nil {
		return Places{}, err
	}
	d := r.docs[0]
	if d.root != nil {
		(&walker{document: d}).value(d.root, reflect.ValueOf(target).Elem(), &field{name: "the file"})
	}
	return Places{d}, r.errs.tidy()
}
