package config

// LoadSections reads the Sections of the files and calls Prepare, and does not look at anything else in them: for tools
// that need no pipelines. An error is [Errors] unless a file cannot be read.
func (l Loader) LoadSections(files ...string) error {
	r := l.start()
	r.sectionsOnly = true
	for _, name := range files {
		text, err := readFile(name)
		if err != nil {
			return err
		}
		r.add(name, text)
	}
	tops := make(map[string]place)
	for _, d := range r.docs {
		d.top(tops)
	}
	if r.Prepare != nil && len(r.docs) > 0 {
		r.prepare()
	}
	if len(r.errs) > 0 {
		return r.errs.tidy()
	}
	return nil
}
