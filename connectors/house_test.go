package connectors_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/xrtcbridge/xrtcbridge/"

// The import arrows of the house: what a folder may import of this module, and
// whether it may import others' modules. The most specific rule counts.
var arrows = []struct {
	folder string
	own    []string // folders of this module; a trailing / stands for all below
	others bool
}{
	{"bridge", nil, false},
	{"bridge/engine", []string{"bridge", "bridge/crashpoint"}, false},
	{"bridge/crashpoint", nil, false},
	{"bridge/framing", []string{"bridge", "bridge/record"}, false},
	{"bridge/record", []string{"bridge"}, true},
	{"bridge/socket", nil, true},
	{"bridge/owned", nil, false},
	{"bridge/suggest", nil, false},
	{"bridge/expr", []string{"bridge", "bridge/jsonfield", "bridge/suggest"}, true},
	{"bridge/jsonfield", nil, true},
	{"bridge/step", []string{"bridge", "bridge/jsonfield", "bridge/record"}, true},
	{"bridge/config", []string{"bridge", "bridge/engine", "bridge/expr", "bridge/suggest"}, true},
	{"bridge/pipetest", []string{
		"bridge", "bridge/config", "bridge/engine", "bridge/expr", "bridge/owned",
		"bridge/suggest",
	}, true},
	{"bridge/monitor", []string{"bridge", "bridge/engine", "bridge/suggest"}, false},
	{"bridge/metrics", []string{"bridge", "bridge/monitor"}, true},
	{"bridge/admin", []string{
		"bridge", "bridge/admin/page", "bridge/engine", "bridge/expr", "bridge/monitor",
		"bridge/owned",
	}, true},
	{"bridge/admin/page", []string{"bridge", "bridge/monitor"}, false},
	{"bridge/embedded", []string{"bridge", "bridge/natsclient", "bridge/owned", "xrtc/server"}, true},
	{"bridge/natsclient", []string{"bridge", "bridge/socket"}, true},
	{"bridge/socket", nil, true},
	{"bridge/store", []string{
		"bridge", "bridge/crashpoint", "bridge/embedded", "bridge/natsclient",
		"bridge/owned",
	}, true},
	{"bridge/bridgetest", []string{"bridge"}, true},
	{"bridge/faulttest", []string{"bridge"}, true},
	{"bridge/browsertest", []string{"bridge/bridgetest"}, true},
	{"bridge/natstest", []string{"bridge/bridgetest"}, true},
	{"bridge/admin/page", []string{"bridge/monitor"}, false},
	{"connectors", []string{"bridge", "bridge/step", "connectors/"}, false},
	{"connectors/xrtc", []string{"bridge", "xrtc"}, true},
	{"connectors/plugin", []string{"bridge", "bridge/config", "connectors/plugin/pluginpb"}, true},
	{"connectors/plugin/host", []string{"bridge", "bridge/config", "bridge/owned", "connectors/plugin/pluginpb"}, true},
	{"connectors/plugin/pluginpb", []string{"bridge"}, true},
	{
		"connectors/plugin/plugintest",
		[]string{"bridge", "connectors/plugin", "connectors/plugin/host", "connectors/plugin/pluginpb"},
		false,
	},
	{"connectors/plugin/skeleton", nil, false},
	{"connectors/*", []string{"bridge", "bridge/framing", "bridge/natsclient", "bridge/owned", "bridge/socket"}, true},
	{"xrtc", []string{"bridge/owned", "xrtc/internal/wire"}, true}, // one dotenv library, see below
	{"xrtc/internal/wire", nil, false},
	{"xrtc/server", []string{"xrtc/internal/wire"}, false},
	{"xrtc/xrtctest", []string{"xrtc", "xrtc/server"}, false},
	{"examples/plugin-go", []string{"bridge", "connectors/plugin"}, true},
	{"examples/xrtc-latency", []string{"xrtc", "xrtc/server", "xrtc/xrtctest"}, false},
	{"cmd/*", []string{
		"bridge", "bridge/", "connectors", "connectors/plugin/host", "connectors/plugin/skeleton",
		"xrtc", "xrtc/server",
	}, true},
}

func TestImportsFollowTheArrows(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		seen++
		rel, err := filepath.Rel("..", file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, filepath.ToSlash(rel), imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d files were looked at", seen)
	}
}

func checkImport(t *testing.T, file, imported string) {
	t.Helper()
	folder := path.Dir(file)
	for _, a := range arrows {
		if ok, _ := path.Match(a.folder, folder); !ok {
			continue
		}
		own, isOwn := strings.CutPrefix(imported, module)
		switch {
		case isOwn && !allowed(a.own, own):
			t.Errorf("%s must not import %s", file, imported)
		case !isOwn && !a.others && strings.Contains(strings.Split(imported, "/")[0], "."):
			t.Errorf("%s may import the standard library only, not %s", file, imported)
		case !isOwn && folder == "xrtc" && strings.Contains(imported, ".") && imported != "github.com/joho/godotenv":
			t.Errorf("%s may import the standard library and a dotenv library, not %s", file, imported)
		case strings.HasPrefix(imported, "gopkg.in/yaml") && folder != "bridge/config":
			t.Errorf("%s must not import %s: YAML is read by bridge/config only", file, imported)
		}
		return
	}
	t.Errorf("%s: no arrow is drawn for this folder", file)
}

func allowed(folders []string, own string) bool {
	for _, f := range folders {
		if own == f || strings.HasSuffix(f, "/") && strings.HasPrefix(own, f) {
			return true
		}
	}
	return false
}

// Packages of npm run no programs of their own while they are installed.
func TestNPMInstallsWithoutScripts(t *testing.T) {
	command := regexp.MustCompile(`npm (ci|install)\b[^&|;\n]*`)
	seen := 0
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules" || d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.Contains([]string{
			"run", "README.md", "README.md.tmpl", "skeleton.go",
			"program.go",
		}, d.Name()):
			return nil
		}
		text, err := os.ReadFile(file)
		for _, c := range command.FindAllString(string(text), -1) {
			seen++
			if !strings.Contains(c, " --ignore-scripts") {
				t.Errorf("%s: %s", file, c)
			}
		}
		return err
	})
	if err != nil || seen < 5 {
		t.Errorf("%d commands, %v", seen, err)
	}
}
