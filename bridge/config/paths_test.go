package config_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

type places struct {
	Path   string          `yaml:"path,path"`
	Paths  []string        `yaml:"paths,path"`
	Out    bridge.Template `yaml:"out,path"`
	State  string          `yaml:"state,path" enum:"off|memory"`
	Secret bridge.Secret   `yaml:"secret"`
	Text   string          `yaml:"text"`

	Not   []string          `yaml:"not,anywhere"`
	Named map[string]string `yaml:"named,path"`
	Most  map[string]int    `yaml:"most" max:"3"`
}

// located returns what a file in the folder conf makes of the keys of a source, as one list.
func located(t *testing.T, file, keys string) ([]string, error) {
	t.Helper()
	var got *places
	l := config.Loader{Registry: bridge.NewRegistry(bridge.Connector{
		Name: "p",
		Source: bridge.NewOpener(places{}, func(_ context.Context, s *places, _ bridge.Env) (bridge.Source, error) {
			got = s
			return nil, nil
		}),
		Sink: bridge.NewOpener(struct{}{}, note[struct{}, bridge.Sink](new(opened))),
	})}
	c, err := l.Parse(file, []byte("pipelines: {a: {from: {p: {"+keys+"}}, to: p}}"))
	if err != nil {
		return nil, err
	}
	openAll(t, c)
	out := ""
	if got.Out != nil {
		if out, err = got.Out.Render(&bridge.Message{Topic: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	return append([]string{got.Path, out, got.State, got.Secret.Reveal(), got.Text},
		slices.AppendSeq(append(got.Paths, got.Not...), maps.Values(got.Named))...), nil
}

func TestPathsGoByTheFolderOfTheFile(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, keys string
		want       []string // path, out, state, secret, text, paths
	}{
		{"conf/f.yaml", "path: a", []string{"conf/a", "", "", "", ""}},
		{"f.yaml", "path: ./a, paths: '*.log', out: 'x/{{ topic }}'", []string{"./a", "x/t", "", "", "", "*.log"}},
		{
			"/etc/f.yaml", "path: ../a/, paths: [b, /c, 'd/*.log']",
			[]string{"/etc/../a/", "", "", "", "", "/etc/b", "/c", "/etc/d/*.log"},
		},
		{
			"conf/f.yaml", "path: ~/a, paths: [~/b, '~', ./~/c], out: '~/{{ topic }}'",
			[]string{"/home/x/a", "/home/x/t", "", "", "", "/home/x/b", "/home/x", "conf/./~/c"},
		},
		{"conf/f.yaml", "out: 'x/{{ topic }}', text: ~/x", []string{"", "conf/x/t", "", "", "~/x"}},
		{
			"/etc/f.yaml", "not: ['*.tmp', '**/old/*', a/*.tmp, ./b, ~/c]",
			[]string{"", "", "", "", "", "*.tmp", "**/old/*", "/etc/a/*.tmp", "/etc/./b", "/home/x/c"},
		},
		{"conf/f.yaml", "named: {a: x}", []string{"", "", "", "", "", "conf/x"}},
		{"conf/f.yaml", "out: x", []string{"", "conf/x", "", "", ""}},
		{"conf/f.yaml", "out: '/x/{{ topic }}'", []string{"", "/x/t", "", "", ""}},
		{"conf/f.yaml", "out: 'x{{ topic }}'", []string{"", "xt", "", "", ""}}, // which the sink refuses
		{"conf/f.yaml", "out: '{{ topic }}/x'", []string{"", "t/x", "", "", ""}},
		{"conf/f.yaml", "path: '${UNSET_HERE:-/v}/a'", []string{"/v/a", "", "", "", ""}},
		{"conf/f.yaml", "state: off", []string{"", "", "off", "", ""}},
		{"conf/f.yaml", "state: memory", []string{"", "", "memory", "", ""}},
		{"conf/f.yaml", "state: ./off", []string{"", "", "conf/./off", "", ""}},
		{dir + "/f.yaml", "secret: '${file:s}'", []string{"", "", "", "hush", ""}},
	} {
		got, err := located(t, c.file, c.keys)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %s: %v (-want +got):\n%s", c.file, c.keys, err, diff)
		}
	}
	for keys, want := range map[string]string{
		"most: {a: 4}": `conf/f.yaml:1:38: most.a must be at most 3, not "4"`,
		"path: ~bob/x": "conf/f.yaml:1:34: the home folder of another user is not filled in; " +
			"write the path in full, or ./ in front of a folder of that name",
		"state: none": `conf/f.yaml:1:35: state must be a path, and "none" does not look like one; write ./none if that is its name; allowed: memory, off`,
		"path: false": `conf/f.yaml:1:34: path must be a path, and "false" does not look like one; write ./false if that is its name`,
	} {
		if _, err := located(t, "conf/f.yaml", keys); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", keys, err, want)
		}
	}
}
