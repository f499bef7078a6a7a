package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// S53: a link of another user leads neither a source nor a sink to what is not that user's, be it
// to the file or to a folder on the way.
func TestS53LinksOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give links away")
	const me, stranger = 0, 4711
	const want = "is a symbolic link of user 4711 to what is not theirs"
	for name, c := range map[string]struct {
		link, target int // whose they are
		refused      bool
	}{
		"to mine":       {stranger, me, true},
		"to a third's":  {stranger, stranger + 1, true},
		"to their own":  {stranger, stranger, false},
		"mine to their": {me, stranger, false},
		"mine":          {me, me, false},
	} {
		for _, of := range []string{"file", "folder"} {
			t.Run(name+", of a "+of, func(t *testing.T) {
				dir := t.TempDir()
				there, shared := filepath.Join(dir, "there"), filepath.Join(dir, "shared")
				must(t, os.Mkdir(there, 0o700))
				must(t, os.Mkdir(shared, 0o777))
				target, link := filepath.Join(there, "x.log"), filepath.Join(shared, "x.log")
				path := link
				put(t, target, "line\n")
				must(t, os.Chown(target, c.target, -1))
				must(t, os.Chown(there, c.target, -1))
				if of == "folder" {
					link, path = filepath.Join(shared, "sub"), filepath.Join(shared, "sub", "x.log")
					must(t, os.Symlink(there, link))
				} else {
					must(t, os.Symlink(target, link))
				}
				must(t, os.Lchown(link, c.link, -1))

				for _, pattern := range []string{path, filepath.Join(filepath.Dir(path), "*.log")} {
					s, err := openSource(t, func(s *file.SourceSettings) { s.Path, s.Follow = []string{pattern}, false })
					var got []string
					if err == nil {
						got, err = readAll(t, s)
					}
					if refused := strings.Contains(err.Error(), want); refused != c.refused || refused == (len(got) == 1) {
						t.Errorf("%s: read %q, %v", pattern, got, err)
					}
				}
				sink, err := tryOpenSink(t, bridge.Text(path), nil)
				if err == nil {
					_, err = sink.Write(t.Context(), messages("written"))
				}
				if refused := err != nil && strings.Contains(err.Error(), want); refused != c.refused ||
					refused == strings.Contains(contents(t, target), "written") || refused && !bridge.IsPermanent(err) {
					t.Errorf("the sink: %v", err)
				}
			})
		}
	}
}

// S53: a source that follows goes on beside such a link.
func TestS53FollowsBesideLinksOfOthers(t *testing.T) {
	bridgetest.Root(t, "to give links away")
	dir := t.TempDir()
	put(t, filepath.Join(dir, "secret"), "secret\n")
	must(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "a.log")))
	must(t, os.Lchown(filepath.Join(dir, "a.log"), 4711, -1))
	put(t, filepath.Join(dir, "b.log"), "b\n")
	s, err := openSource(t, func(s *file.SourceSettings) {
		s.Path, s.Follow, s.Grace = []string{filepath.Join(dir, "*.log")}, true, time.Second
	})
	must(t, err)
	if got := read(t, s, 1); got[0] != "b" {
		t.Errorf("read %q", got)
	}
}

// S53: a sink makes nothing in a folder to which such a link leads, whatever name a message chooses.
func TestS53MakesNothingWhereLinksOfOthersLead(t *testing.T) {
	bridgetest.Root(t, "to give links away")
	for name, path := range map[string]func(at string) bridge.Template{
		"a name":                func(at string) bridge.Template { return bridge.Text(at + "name") },
		"a name in a folder":    func(at string) bridge.Template { return bridge.Text(at + "folder/name") },
		"any name":              func(at string) bridge.Template { return byTopic(at) },
		"any name, in a folder": func(at string) bridge.Template { return byTopic(at + "folder/") },
	} {
		dir := t.TempDir()
		there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
		must(t, os.Mkdir(there, 0o700))
		must(t, os.Symlink(there, link))
		must(t, os.Lchown(link, 4711, -1))
		sink, err := tryOpenSink(t, path(link+"/"), nil)
		if err == nil {
			_, err = sink.Write(t.Context(), bridge.Batch{{Topic: "nologin"}})
		}
		if err == nil || !strings.Contains(err.Error(), "is a symbolic link of user 4711") || !bridge.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
		made, err := os.ReadDir(there)
		if must(t, err); len(made) > 0 {
			t.Errorf("%s: it made %v", name, made)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
