package config

import "reflect"

// Decode reads a file that holds nothing but settings into the struct that target points to, with the rules of all
// configuration; Registry and Sections are not used. An error is [Errors] unless the file cannot be read.
func (l Loader) Decode(name string, target any) error {
	text, err := readFile(name)
	if err != nil {
		return err
	}
	return l.DecodeText(name, text, target)
}

// DecodeText does what [Loader.Decode] does with text as the content of the file.
func (l Loader) DecodeText(name string, text []byte, target any) error {
	r := l.start()
	r.settingsOnly = true
	r.add(name, text)
	if d := r.docs[0]; d.root != nil {
		w := &walker{document: d}
		w.value(d.root, reflect.ValueOf(target).Elem(), &field{name: "the file"})
	}
	if len(r.errs) > 0 {
		return r.errs.tidy()
	}
	return nil
}
