package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stdin is the name of standard input among files, and stdinName what errors call it.
const (
	stdin     = "-"
	stdinName = "standard input"
)

// Files returns the files that names stand for, in the order of the names. A folder stands for its
// files *.yaml and *.yml, and a pattern, as of [filepath.Match], for those that match it, by name,
// without hidden ones and the tests *_test.yaml; that there is none is an error. The name of a file
// stands for itself, as does "-" for standard input.
func Files(names ...string) (files []string, err error) {
	for _, name := range names {
		var found []string
		info, statErr := os.Stat(name)
		switch {
		case name == stdin, statErr == nil && !info.IsDir(), statErr != nil && !strings.ContainsAny(name, "*?["):
			files = append(files, name)
			continue
		case statErr == nil: // a folder, whose name may look like a pattern
			entries, err := os.ReadDir(name)
			if err != nil {
				return nil, fmt.Errorf("read configuration: %w", err)
			}
			for _, e := range entries {
				found = append(found, filepath.Join(name, e.Name()))
			}
			name = filepath.Join(name, "*.yaml")
		default:
			if found, err = filepath.Glob(name); err != nil {
				return nil, fmt.Errorf("read configuration: %s: %w", name, err)
			}
		}
		if found = slices.DeleteFunc(found, noPipelines); len(found) == 0 {
			return nil, fmt.Errorf("read configuration: there is no pipeline file %s", name)
		}
		files = append(files, found...)
	}
	return files, nil
}

// noPipelines reports whether a file is none of those that a folder or pattern stands for.
func noPipelines(name string) bool {
	base, ext := filepath.Base(name), filepath.Ext(name)
	info, err := os.Stat(name)
	return strings.HasPrefix(base, ".") || ext != ".yaml" && ext != ".yml" ||
		strings.HasSuffix(strings.TrimSuffix(base, ext), "_test") || err == nil && info.IsDir()
}
