package config_test

import (
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func TestSetKey(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{
			"block", "plugins:\n  a:   # one\n    path: ./a   # here\n    env: [X]\n  b: {}\n",
			"plugins:\n  a:   # one\n    path: ./a   # here\n    sha256: \"S\"\n    env: [X]\n  b: {}\n",
		},
		{
			"block with the old value", "plugins:\n  a:\n    sha256: old # keep\n    path: ./a\n",
			"plugins:\n  a:\n    sha256: \"S\" # keep\n    path: ./a\n",
		},
		{
			"old value in double quotes", "plugins: {a: {path: ./a, sha256: \"old\", x: 1}}\n",
			"plugins: {a: {path: ./a, sha256: \"S\", x: 1}}\n",
		},
		{
			"old value in single quotes", "plugins: {a: {path: ./a, sha256: 'old'}}\n",
			"plugins: {a: {path: ./a, sha256: \"S\"}}\n",
		},
		{
			"flow", "plugins: {ä: {}, a: {path: ./a, args: [b]}} # end\n",
			"plugins: {ä: {}, a: {sha256: \"S\", path: ./a, args: [b]}} # end\n",
		},
		{"flow in quotes", "plugins: {a: {path: \"./ä 😀\"}}\n", "plugins: {a: {sha256: \"S\", path: \"./ä 😀\"}}\n"},
		{"lone value", "plugins:\n  a: ./bin/a  # short\n", "plugins:\n  a: {path: ./bin/a, sha256: \"S\"}  # short\n"},
		{"no end of line", "plugins:\n  a:\n    path: ./a", "plugins:\n  a:\n    path: ./a\n    sha256: \"S\""},
		{
			"CRLF", "plugins:\r\n  a:\r\n    path: ./a\r\npipelines: {}\r\n",
			"plugins:\r\n  a:\r\n    path: ./a\r\n    sha256: \"S\"\r\npipelines: {}\r\n",
		},
	} {
		got, err := config.SetKey("f.yaml", []byte(c.before), []string{"plugins", "a", "sha256"}, "path", "S")
		if err != nil || string(got) != c.after {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.after)
		}
	}
	for text, want := range map[string]string{
		"":                   "there is no key plugins.a",
		"a: b\n":             "there is no key plugins.a",
		"plugins: {a: {}}\n": "there is no key path beside",
		"plugins:\n  a:\n    path: >\n      ./a\n    sha256: >\n      old\n": "f.yaml:3: the value is not written in " +
			"a way that this command can edit: write sha256: \"S\" by hand",
		"plugins: {a: {path: ./a, sha256: 'o''ld'}}\n": "f.yaml:1: the value is not written in " +
			"a way that this command can edit",
		"plugins: {a: './it''s'}\n":                "f.yaml:1: the value is not written",
		"plugins: {a: {path: ./a, sha256: [x]}}\n": "f.yaml:1: the value is not written",
	} {
		if _, err := config.SetKey("f.yaml", []byte(text), []string{"plugins", "a", "sha256"}, "path",
			"S"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
