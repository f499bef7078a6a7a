package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSections(t *testing.T) {
	s := struct {
		Listen string   `yaml:"listen,short"`
		Rotate rotation `yaml:"rotate"`
	}{Listen: "default"}
	l := loader(new(opened))
	l.Sections = map[string]any{"embedded": &s}
	const pipelines = "\npipelines: {a: {from: stdio, to: stdio}}"
	if _, err := l.Parse("p", []byte(pipelines)); err != nil || s.Listen != "default" {
		t.Errorf("absent: %v, %+v", err, s)
	}
	if _, err := l.Parse("p", []byte("embedded: ${HOST}:1"+pipelines)); err != nil || s.Listen != "broker:1" {
		t.Errorf("short: %v, %+v", err, s)
	}
	l.ServersKey = "embedded"
	if _, err := l.Parse("p", []byte("embedded: x\npipelines: {}")); err != nil {
		t.Errorf("no pipelines: %v", err)
	}
	_, err := l.Parse("p", []byte("embedded: {rotate: {keep: 3}, listn: x}"+pipelines))
	want := "p:1:21: keep: means nothing without size\n" +
		"p:1:31: unknown key \"listn\"; did you mean listen? keys here: listen, rotate"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shared := write("shared.yaml", "connections: {b: {mq: {url: 'a://b'}}}\nfail_fast: true\n")
	one := write("one.yaml", "pipelines: {a: {from: {mq: {connection: b, topics: t}}, to: stdio}}")
	two := write("two.yaml", "fail_fast: false\nconnections: {b: {mq: {}}}\npipelines: {a: {from: stdio, to: stdio}}")
	l := loader(new(opened))
	c, err := l.Load(shared, one)
	if err != nil || len(c.Pipelines) != 1 || !c.FailFast {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err = l.Load(one, shared, two)
	want := strings.ReplaceAll(`DIR/two.yaml:1:1: fail_fast is set in another file; it is at DIR/shared.yaml:2:1
DIR/two.yaml:2:15: there is a connection "b" already; it is at DIR/shared.yaml:1:15
DIR/two.yaml:3:13: there is a pipeline "a" already; it is at DIR/one.yaml:1:13`, "DIR", dir)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = l.Load(filepath.Join(dir, "none.yaml"))
	if !os.IsNotExist(unwrap(err)) {
		t.Errorf("got %v", err)
	}
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return err
}
