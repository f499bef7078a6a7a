package connectors_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
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
	{"bridge", []string{"bridge/crashpoint"}, false},
	{"bridge/crashpoint", nil, false},
	{"bridge/framing", []string{"bridge"}, false},
	{"bridge/expr", []string{"bridge"}, true},
	{"bridge/step", []string{"bridge"}, false},
	{"bridge/config", []string{"bridge", "bridge/expr"}, true},
	{"bridge/embedded", []string{"bridge", "xrtc/server"}, true},
	{"bridge/store", []string{"bridge", "bridge/crashpoint", "bridge/embedded"}, true},
	{"bridge/bridgetest", []string{"bridge"}, true},
	{"bridge/faulttest", []string{"bridge"}, true},
	{"connectors", []string{"bridge", "bridge/step", "connectors/"}, false},
	{"connectors/xrtc", []string{"bridge", "xrtc"}, true},
	{"connectors/plugin", []string{"bridge", "bridge/config", "connectors/plugin/pluginpb"}, true},
	{"connectors/plugin/host", []string{"bridge", "bridge/config", "connectors/plugin/pluginpb"}, true},
	{"connectors/plugin/pluginpb", []string{"bridge"}, true},
	{"connectors/plugin/plugintest", []string{"bridge", "connectors/plugin", "connectors/plugin/host", "connectors/plugin/pluginpb"}, false},
	{"connectors/plugin/skeleton", nil, false},
	{"connectors/*", []string{"bridge", "bridge/framing"}, true},
	{"xrtc", []string{"xrtc/internal/wire"}, true}, // one dotenv library, see below
	{"xrtc/internal/wire", nil, false},
	{"xrtc/server", []string{"xrtc/internal/wire"}, false},
	{"xrtc/xrtctest", []string{"xrtc", "xrtc/server"}, false},
	{"examples/plugin-go", []string{"bridge", "connectors/plugin"}, true},
	{"examples/xrtc-latency", []string{"xrtc", "xrtc/server", "xrtc/xrtctest"}, false},
	{"cmd/*", []string{"bridge", "bridge/", "connectors", "connectors/plugin/host", "connectors/plugin/skeleton", "xrtc", "xrtc/server"}, true},
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
