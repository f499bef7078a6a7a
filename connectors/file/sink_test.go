package file_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

func mustWrite(t testing.TB, s bridge.Sink, batch bridge.Batch) {
	t.Helper()
	if r, err := s.Write(t.Context(), batch); r.Settled != len(batch) || r.Refused != nil || err != nil {
		t.Fatalf("wrote %d of %d: %v", r.Settled, len(batch), err)
	}
}

func TestT3TornTailIsMovedAside(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, c := range []struct{ before, whole, torn string }{
		{"", "", ""},
		{"one\n", "one\n", ""},
		{"one\ntwo\nthr", "one\ntwo\n", "thr\n"},
		{"thr", "", "thr\n"},
		{"one\n" + long, "one\n", long + "\n"},
		{long, "", long + "\n"},
		{"\n\n", "\n\n", ""},
	} {
		path := filepath.Join(t.TempDir(), "out")
		put(t, path, c.before)
		s := openSink(t, bridge.Text(path), nil)
		mustWrite(t, s, messages("new"))
		if got := contents(t, path); got != c.whole+"new\n" {
			t.Errorf("after %.20q: the file is %.40q", c.before, got)
		}
		torn, err := os.ReadFile(path + ".torn")
		if string(torn) != c.torn || c.torn == "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %.20q: aside is %.40q (%v)", c.before, torn, err)
		}
	}
}

func TestT3TornTailsAddUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for i := range 3 {
		appendTo(t, path, fmt.Sprintf("torn %d", i))
		_ = openSink(t, bridge.Text(path), nil).Close()
	}
	if got := contents(t, path+".torn"); got != "torn 0\ntorn 1\ntorn 2\n" {
		t.Errorf("aside is %q", got)
	}
}

func TestS4Modes(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, byTopic(filepath.Join(dir, "made")+"/"), nil)
	mustWrite(t, s, bridge.Batch{{Topic: "a/b/c"}, {Topic: "d"}})
	for name, want := range map[string]fs.FileMode{
		"made": 0o700, "made/a": 0o700, "made/a/b": 0o700, "made/a/b/c": 0o600, "made/d": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, info.Mode(), err, want)
		}
	}
}

func TestTemplatedPathKeepsOrderInEachFile(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, byTopic(dir+"/log-"), nil)
	var batch bridge.Batch
	want := make(map[string]string)
	// More files than may be open at once.
	for i := range 2000 {
		topic, text := fmt.Sprint(i*7919%300), fmt.Sprint("message ", i)
		batch = append(batch, bridge.Message{Topic: topic, Payload: []byte(text)})
		want[topic] += text + "\n"
	}
	mustWrite(t, s, batch[:1500])
	mustWrite(t, s, batch[1500:])
	for topic, text := range want {
		if got := contents(t, filepath.Join(dir, "log-"+topic)); got != text {
			t.Errorf("file of topic %s: %q, want %q", topic, got, text)
		}
	}
	if n := descriptors(t); n > 200 {
		t.Errorf("%d descriptors are open", n)
	}
}

func TestS5PathsStayInTheFolder(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"up": "..", "abs": base, "file": filepath.Join(base, "outside")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{
		"", ".", "..", "../x", "a/../../x", "/x", "//x", "a/../..", "up/x", "abs/x", "file", "nul\x00byte",
		strings.Repeat("../", 50) + "x", strings.Repeat("long", 100),
	} {
		s := openSink(t, byTopic(dir+"/"), nil)
		batch := bridge.Batch{{Topic: "good", Payload: []byte("1")}, {Topic: topic, Payload: []byte("2")}, {Topic: "good"}}
		r, err := s.Write(t.Context(), batch)
		if r.Settled != 3 || len(r.Refused) != 1 || r.Refused[0].Index != 1 || err != nil {
			t.Errorf("topic %.40q: Write = %+v, %v, want that the second message is refused", topic, r, err)
		}
		_ = s.Close()
		if got := contents(t, filepath.Join(dir, "good")); got != "1\n\n" {
			t.Errorf("topic %.40q: the others are %q", topic, got)
		}
		remove(t, filepath.Join(dir, "good"))
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside of the folder there are %v, %v", entries, err)
	}
}

// A message can make few folders at a time, and no name that looks like something else.
func TestS35PathsFromMessages(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, byTopic(dir+"/"), nil)
	for topic, want := range map[string]string{
		strings.Repeat("a/", 2000) + "a":                "2000 folders",
		strings.Repeat("b/", 33) + "b":                  "33 folders",
		strings.Repeat("c/", 32) + "c":                  "",
		strings.Repeat("d", 256):                        "more than 255 bytes",
		"e/f/" + strings.Repeat("g", 256) + "/h":        "more than 255 bytes",
		strings.Repeat(strings.Repeat("i", 200)+"/", 6): "bytes behind",
		"new\nline":        "control character",
		"carriage\rreturn": "control character",
		"escape\x1b[2J":    "control character",
		"delete\x7f":       "control character",
		"csi\u009b2J":      "control character",
		"gpj.\u202exe":     "control character",
		"para\u2029graph":  "control character",
		"latin\x9b1":       "",
		"Grüße/日本/\u200d":  "",
	} {
		r, err := s.Write(t.Context(), bridge.Batch{{Topic: topic, Payload: []byte("x")}})
		if r.Settled != 1 || err != nil || (want == "") != (len(r.Refused) == 0) || want != "" &&
			!strings.Contains(r.Refused.Error(), want) {
			t.Errorf("%.40q: %+v, %v, want it refused: %q", topic, r, err, want)
		}
	}
	made := 0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if d.IsDir() {
			made++
		}
		return err
	})
	if want := 1 + 32 + 2; made != want || err != nil {
		t.Errorf("there are %d folders, %v, want %d", made, err, want)
	}
}

func FuzzS5Path(f *testing.F) {
	for _, topic := range []string{"a", "../x", "/etc/passwd", "a/./b/../../..", "\x00", "a//b", "..\\x"} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		base := t.TempDir()
		s := openSink(t, byTopic(filepath.Join(base, "root")+"/"), func(s *file.SinkSettings) { s.Sync = false })
		if r, err := s.Write(t.Context(), bridge.Batch{{Topic: topic, Payload: []byte("x")}}); r.Settled != 1 || err != nil {
			t.Errorf("Write = %+v, %v", r, err)
		}
		if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
			t.Errorf("outside of the folder there are %v, %v", entries, err)
		}
	})
}

func TestRemovedFileIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := openSink(t, bridge.Text(path), nil)
	mustWrite(t, s, messages("1"))
	rename(t, path, path+".moved")
	mustWrite(t, s, messages("2"))
	remove(t, path)
	mustWrite(t, s, messages("3"))
	if got := contents(t, path+".moved") + contents(t, path); got != "1\n3\n" {
		t.Errorf("the files hold %q", got)
	}
}

func TestRotateBySize(t *testing.T) {
	for _, keep := range []int{0, 3} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out.log")
		put(t, path+".torn", "no rotated file")
		put(t, path+".20060102T150405.000.gz", "no rotated file")
		s := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.Size, s.Rotate.Keep = 1000, keep })
		var want strings.Builder
		for i := range 40 {
			var batch bridge.Batch
			for k := range 30 {
				text := fmt.Sprintf("%d.%d %s", i, k, strings.Repeat("x", i*k%90))
				batch = append(batch, messages(text)...)
				want.WriteString(text + "\n")
			}
			mustWrite(t, s, batch)
		}
		mustWrite(t, s, messages(strings.Repeat("y", 5000)))
		want.WriteString(strings.Repeat("y", 5000) + "\n")
		old, err := filepath.Glob(path + ".2*[0-9]")
		if err != nil || keep > 0 && len(old) != keep || len(old) < 3 {
			t.Fatalf("keep %d: %d rotated files, %v", keep, len(old), err)
		}
		var got strings.Builder
		for _, name := range append(old, path) {
			text := contents(t, name)
			if len(text) > 1000 && strings.Count(text, "\n") > 1 || !strings.HasSuffix(text, "\n") {
				t.Errorf("%s has %d bytes", name, len(text))
			}
			got.WriteString(text)
		}
		if keep == 0 && got.String() != want.String() || !strings.HasSuffix(want.String(), got.String()) {
			t.Errorf("keep %d: the files together are not what was written", keep)
		}
		if _, err := os.Stat(path + ".torn"); err != nil {
			t.Error(err)
		}
	}
}

// TestNewestAreKeptWhateverTheClockSays has a rotated file of the future, as a clock leaves it
// that was set back, or many rotations within a millisecond.
func TestNewestAreKeptWhateverTheClockSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	put(t, path+".29990101T000000.000", "0\n")
	s := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.Size, s.Rotate.Keep = 2, 2 })
	mustWrite(t, s, messages("1", "2", "3", "4"))
	old, err := filepath.Glob(path + ".2*[0-9]")
	if err != nil || len(old) != 2 || contents(t, old[0])+contents(t, old[1])+contents(t, path) != "2\n3\n4\n" {
		t.Errorf("kept are %q, %v, not the newest", old, err)
	}
}

func TestLengthIsThatOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.Size = 20 })
	mustWrite(t, s, messages("123456789012345"))
	put(t, path, "") // what is there is cut by somebody else
	mustWrite(t, s, messages("1234567890"))
	if old, err := filepath.Glob(path + ".2*[0-9]"); err != nil || len(old) != 0 {
		t.Errorf("rotated %q, %v, though the file was small", old, err)
	}
}

func TestRotateByAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.Age = 30 * time.Millisecond })
	mustWrite(t, s, messages("1"))
	aside := func(want string) func() bool { // while no message comes; the name comes before the file
		return func() bool {
			old, err := filepath.Glob(path + ".2*[0-9]")
			got := ""
			for _, name := range old {
				got += contents(t, name) + "|"
			}
			return err == nil && got == want
		}
	}
	bridgetest.Eventually(t, "the file is set aside", aside("1\n|"))
	mustWrite(t, s, messages("2"))
	bridgetest.Eventually(t, "the next one is set aside", aside("1\n|2\n|"))
	_ = s.Close()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	s = openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.Age = time.Minute })
	mustWrite(t, s, messages("3", "4"))
	mustWrite(t, s, messages("5"))
	if got := contents(t, path); got != "3\n4\n5\n" {
		t.Errorf("a file was not rotated when it was opened old, or young: %q", got)
	}
}

// TestE10HopelessSinks: a sink that nothing but an operator can mend says so when it is opened.
func TestE10HopelessSinks(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	for path, want := range map[string]string{
		dir:                                  "is a directory: name a file in it, such as ",
		filepath.Join(dir, "file", "x"):      "not a directory",
		filepath.Join(dir, "file", "x", "y"): "not a directory",
		filepath.Join(dir, strings.Repeat("long", 100)): "file name too long",
	} {
		if _, err := tryOpenSink(t, bridge.Text(path), nil); !bridge.IsPermanent(err) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("Open %.40q = %v, want a permanent error with %q", path, err, want)
		}
	}
}

func TestNoSpace(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		bridgetest.Missing(t, "/dev/full")
	}
	s := openSink(t, bridge.Text("/dev/full"), nil)
	r, err := s.Write(t.Context(), messages("a"))
	if r.Settled != 0 || !errors.Is(err, syscall.ENOSPC) || bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("Write = %+v, %v, want 0 and ENOSPC with the path", r, err)
	}
	if r, err := s.Write(t.Context(), messages("a")); r.Settled != 0 || err == nil {
		t.Errorf("Write after an error = %+v, %v", r, err)
	}
}

// TestPartialFailureCountsContiguously has one full disk among two files.
func TestPartialFailureCountsContiguously(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		bridgetest.Missing(t, "/dev/full")
	}
	s := openSink(t, byTopic("/dev/"), func(s *file.SinkSettings) { s.Sync = false })
	batch := bridge.Batch{{Topic: "null"}, {Topic: "../x"}, {Topic: "full"}, {Topic: "null"}, {Topic: "../x"}}
	r, err := s.Write(t.Context(), batch)
	if r.Settled != 2 || len(r.Refused) != 1 || r.Refused[0].Index != 1 || !errors.Is(err, syscall.ENOSPC) ||
		bridge.IsPermanent(err) {
		t.Errorf("Write = %+v, %v, want 2 of which one is refused, and ENOSPC", r, err)
	}
}

func TestValidate(t *testing.T) {
	for want, s := range map[string]interface{ Validate() error }{
		"path: must name a file": file.SinkSettings{Path: bridge.Text("")},
		"path: must name a folder before its first {{, such as out/ or ./, " +
			"for messages choose what stands behind that": file.SinkSettings{Path: byTopic("/log-")},
		"path: must name a file, not a folder: out/messages.txt, and not out/": file.SinkSettings{Path: bridge.Text("out/")},
		"rotate.keep: needs size, age or at": file.SinkSettings{
			Path:   bridge.Text("x"),
			Rotate: file.Rotate{Keep: 1},
		},
		"from: end needs follow: true, else there is nothing to read": file.SourceSettings{
			Path:    []string{"x"},
			MaxLine: 1, Poll: time.Second, From: "end",
		},
		"path: a pattern is a path with *, **, ?, [a-z] and {a,b} in it": file.SourceSettings{
			Path:    []string{"["},
			MaxLine: 1, Poll: time.Second,
		},
	} {
		if err := s.Validate(); err == nil || err.Error() != want {
			t.Errorf("Validate = %v, want %q", err, want)
		}
	}
	a := file.SinkSettings{Path: bridge.Text("out/../x")}.Describe().Exclusive
	b := file.SinkSettings{Path: bridge.Text("x")}.Describe().Exclusive
	if a != b || a == "" || (file.SinkSettings{Path: byTopic("x")}).Describe().Exclusive != "" {
		t.Errorf("Exclusive = %q and %q", a, b)
	}
}
