package faulttest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table in README.md, and SECURITY.md, name tests that there are.
func TestTableNamesTests(t *testing.T) {
	functions := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			functions[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)(/\\w+)?`")
	for file, least := range map[string]int{"README.md": 50, "../../SECURITY.md": 40} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := named.FindAllStringSubmatch(string(text), -1)
		if len(all) < least {
			t.Errorf("%s names %d tests: is the pattern still right?", file, len(all))
		}
		for _, m := range all {
			if !functions[m[1]] {
				t.Errorf("%s: there is no %s", file, m[1])
			}
			if _, err := os.Stat("../../cmd/xrtcbridge/testdata/script" + m[2] + ".txtar"); m[1] == "TestScripts" && err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if file == "README.md" {
			continue
		}
		for _, item := range regexp.MustCompile(`(?m)^- (.|\n  )*`).FindAllString(string(text), -1) {
			if !named.MatchString(item) {
				t.Errorf("%s promises without a test: %s", file, item)
			}
		}
	}
}
