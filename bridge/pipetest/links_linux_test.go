package pipetest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// S54: a recording, its payloads and an update go to no file to which a link of another user leads.
func TestS54RecordingsFollowNoLinksOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give links away")
	dir := t.TempDir()
	name, victim := filepath.Join(dir, "p_test.yaml"), filepath.Join(dir, "victim")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(at string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.Symlink(victim, at), os.Lchown(at, 4711, -1)); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(dir, "p.yaml"), "pipelines: {p: {from: {stdio: {}}, to: {stdio: {}}}}\n")
	o := Options{Load: func(files []string, adjust func(*config.Loader)) (*config.Config, error) {
		l := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}
		adjust(&l)
		return l.Load(files...)
	}}
	record := func(payload string) error {
		one := Recorded{From: "from", Message: bridge.Message{Payload: []byte(payload)}}
		_, _, err := Record(t.Context(), name, Recording{"p", []string{filepath.Join(dir, "p.yaml")}, []Recorded{one}}, o)
		return err
	}
	const old = "tests:\n  - name: a\n    pipeline: p\n    messages: [{payload: x}]\n    expect: {}\n"
	large := strings.Repeat("a payload of theirs ", 1000)
	for what, write := range map[string]func() error{
		"record a test into what is not there": func() error { return record("x") },
		"record a test": func() error {
			put(victim, old)
			return record("x")
		},
		"record a payload": func() error {
			put(victim, old)
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			link(filepath.Join(dir, payloadFile([]byte(large))))
			return record(large)
		},
		"update": func() error {
			put(victim, old)
			o := o
			o.Update = true
			_, err := Run(t.Context(), name, o)
			return err
		},
	} {
		for _, at := range []string{name, victim} {
			if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		link(name)
		if err := write(); err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
			t.Errorf("%s: %v", what, err)
		}
		if text, err := os.ReadFile(victim); err == nil && string(text) != old {
			t.Errorf("%s: there is %.100q now", what, text)
		}
	}
}
