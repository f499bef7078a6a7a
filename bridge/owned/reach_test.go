//go:build unix

package owned_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// S54: what is written by name goes to no file to which a link of another user leads, be it there or
// not, unless it is theirs; links of one's own are followed.
func TestS54WritesThroughNoLinksOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give links away")
	const me = 0
	const of, link = "is a symbolic link of user 4711", "is a symbolic link"
	for name, c := range map[string]struct {
		link, target int // whose they are
		missing      bool
		path         string
		want         string
	}{
		"to mine":                         {stranger, me, false, "file", of},
		"to their own":                    {stranger, stranger, false, "file", ""},
		"mine":                            {me, me, false, "file", ""},
		"to what is not there":            {stranger, me, true, "file", link},
		"mine, to what is not there":      {me, me, true, "file", link},
		"to my folder":                    {stranger, me, false, "folder/file", of},
		"to my folder, a new file":        {stranger, me, true, "folder/file", "belongs to user 4711"},
		"to their folder, a new file":     {stranger, stranger, true, "folder/file", "belongs to user 4711"},
		"to what is mine in their folder": {stranger, me, false, "both/file", of},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			there, path := filepath.Join(dir, "there"), filepath.Join(dir, c.path)
			target := filepath.Join(there, "file")
			p := &place{t: t}
			p.must(os.Mkdir(there, 0o700))
			if !c.missing {
				p.must(os.WriteFile(target, []byte("what was there before"), 0o640))
				p.must(os.Chown(target, c.target, -1))
			}
			at := path
			switch c.path {
			case "file":
				p.must(os.Symlink(target, at))
			case "both/file":
				p.must(os.Chown(there, stranger, -1))
				at = filepath.Dir(path)
				p.must(os.Symlink(there, at))
			default:
				p.must(os.Chown(there, c.target, -1))
				at = filepath.Dir(path)
				p.must(os.Symlink(there, at))
			}
			p.must(os.Lchown(at, c.link, -1))
			err := owned.WriteFile(path, []byte("new"), 0o600)
			if refused := err != nil; refused != (c.want != "") || refused && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, and %q was wanted", err, c.want)
			}
			want := "new"
			if c.want != "" {
				want = "what was there before"
			}
			if text, err := os.ReadFile(target); string(text) != want && (c.want == "" || !c.missing || err == nil) {
				t.Errorf("there is %q, %v", text, err)
			}
		})
	}
}

// A file keeps its mode, what has no name is written to, and a pipe that nobody reads is waited for
// by nobody.
func TestWriteFile(t *testing.T) {
	p := &place{t: t}
	dir := t.TempDir()
	name, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	for _, text := range []string{"longer than it", "shorter"} {
		p.must(owned.WriteFile(name, []byte(text), 0o600))
		if got, err := os.ReadFile(name); string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
		p.mode(name, 0o644)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	p.must(syscall.Mkfifo(pipe, 0o600))
	if err := owned.WriteFile(pipe, nil, 0); err == nil {
		t.Error("it has written to a pipe that nobody reads")
	}
	r, w, err := os.Pipe()
	p.must(err)
	defer r.Close()
	defer w.Close()
	unnamed := "/proc/self/fd/" + fd(w)
	if _, err := os.Stat(unnamed); err != nil {
		bridgetest.Missing(t, "/proc")
	}
	p.must(owned.WriteFile(unnamed, []byte("text"), 0))
	got := make([]byte, 4)
	if _, err := r.Read(got); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
}

func fd(f *os.File) string { return strconv.Itoa(int(f.Fd())) }
