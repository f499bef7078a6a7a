package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// all returns the lines of all files in a folder, sorted.
func all(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			lines = append(lines, strings.Split(strings.TrimSuffix(contents(t, path), "\n"), "\n")...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// TestT3RotationTakesNoOthersFile: messages name files as rotation does, and lose nothing by that.
func TestT3RotationTakesNoOthersFile(t *testing.T) {
	stamp := func(d time.Duration) string { return time.Now().Add(d).Format(".20060102T150405.000") }
	for _, ending := range []string{
		".99991231T235959.999", ".99981231T235959.999", ".00010101T000000.000",
		stamp(0), stamp(time.Hour),
	} {
		for _, keep := range []int{0, 1} {
			dir := t.TempDir()
			s := openSink(t, byTopic(dir+"/"), func(s *file.SinkSettings) { s.Rotate.Size, s.Rotate.Keep = 4, keep })
			var want []string
			for i := range 5 {
				for k, topic := range []string{"a", "a" + ending} {
					m := bridge.Message{Topic: topic, Payload: fmt.Appendf(nil, "%d%d", i, k)}
					r, err := s.Write(t.Context(), bridge.Batch{m})
					if err != nil || r.Settled != 1 {
						t.Fatalf("Write = %+v, %v", r, err)
					}
					// Nobody takes the last year for that of a rotation.
					if refuse := keep > 0 && k == 1 && ending[1:5] != "9999"; (len(r.Refused) == 1) != refuse {
						t.Fatalf("keep %d, topic %q: refused are %v", keep, topic, r.Refused)
					}
					if len(r.Refused) == 0 && (keep == 0 || i >= 3) {
						want = append(want, string(m.Payload))
					}
				}
			}
			if d := cmp.Diff(want, all(t, dir)); d != "" {
				t.Errorf("keep %d, ending %s (-want +got):\n%s", keep, ending, d)
			}
		}
	}
}

// TestT3RotationByTheFilesAge: files grow old over restarts, and however many there are.
func TestT3RotationByTheFilesAge(t *testing.T) {
	const age = 300 * time.Millisecond
	dir := t.TempDir()
	open := func() bridge.Sink {
		return openSink(t, byTopic(dir+"/"), func(s *file.SinkSettings) { s.Rotate.Age, s.Sync = age, false })
	}
	var batch bridge.Batch
	for i := range 150 { // more than are open at once
		batch = append(batch, bridge.Message{Topic: fmt.Sprint(i), Payload: []byte("x")})
	}
	write := func() {
		s := open()
		mustWrite(t, s, batch)
		_ = s.Close()
	}
	write()
	for made := time.Now(); time.Since(made) < age; <-time.After(50 * time.Millisecond) {
		write()
	}
	write()
	for i := range 150 {
		old, err := filepath.Glob(filepath.Join(dir, fmt.Sprint(i, ".2*[0-9]")))
		if err != nil || len(old) == 0 {
			t.Fatalf("file %d was not rotated", i)
		}
	}
}

func TestRotateAtATimeOfDay(t *testing.T) {
	now := time.Now()
	for hour, want := range map[time.Duration]int{-time.Minute: 1, 10 * time.Minute: 0} {
		path := filepath.Join(t.TempDir(), "out")
		put(t, path, "old\n")
		past := now.Add(-5 * time.Minute)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		s := openSink(t, bridge.Text(path), func(s *file.SinkSettings) { s.Rotate.At = now.Add(hour).Format("15:04") })
		mustWrite(t, s, messages("new"))
		if old, err := filepath.Glob(path + ".2*[0-9]"); err != nil || len(old) != want {
			t.Errorf("at %v: %d rotated files, %v", hour, len(old), err)
		}
	}
}

// byDay is a path template that holds the day of the message and its topic.
type byDay string

func (p byDay) Render(m *bridge.Message) (string, error) {
	return string(p) + m.Time.Format("2006/01-02") + "/" + m.Topic, nil
}

func (p byDay) Constant() (string, bool) { return string(p), false }

func (p byDay) Prefix(string) string { return string(p) }

// TestKeepCoversDates: of files that a template names by their day the newest stay, and those that
// a message named are left alone.
func TestKeepCoversDates(t *testing.T) {
	dir := t.TempDir()
	settings := func(s *file.SinkSettings) { s.Rotate.Size, s.Rotate.Keep = 4, 2 }
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for i := range 6 {
		s := openSink(t, byDay(dir+"/"), settings)
		for _, topic := range []string{"a", "b"} {
			mustWrite(t, s, bridge.Batch{{Topic: topic, Time: day.AddDate(0, 0, 7*i), Payload: fmt.Append(nil, topic, i)}})
		}
		_ = s.Close()
	}
	if d := cmp.Diff([]string{"a3", "a4", "a5", "b3", "b4", "b5"}, all(t, dir)); d != "" {
		t.Errorf("by day: %s", d)
	}
	dir = t.TempDir()
	s := openSink(t, byTopic(dir+"/"), settings)
	for i := range 6 {
		mustWrite(t, s, bridge.Batch{{Topic: day.AddDate(0, 0, i).Format("2006-01-02"), Payload: []byte("x")}})
	}
	if n := len(all(t, dir)); n != 6 {
		t.Errorf("of 6 files that messages named, %d are there", n)
	}
}

// TestS4ModeAndOwnerStay: new files have the mode of the settings, and rotation keeps what an
// administrator has changed.
func TestS4ModeAndOwnerStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	mode := func(path string) string {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%#o", info.Mode().Perm())
	}
	s := openSink(t, byTopic(dir+"/"), func(s *file.SinkSettings) { s.Mode, s.Rotate.Size = "0664", 2 })
	mustWrite(t, s, bridge.Batch{{Topic: "sub/out", Payload: []byte("1")}})
	path := filepath.Join(dir, "sub", "out")
	if got := mode(dir) + " " + mode(filepath.Dir(path)) + " " + mode(path); got != "0775 0775 0664" {
		t.Errorf("modes are %s", got)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	before := ownerOf(t, path)
	mustWrite(t, s, bridge.Batch{{Topic: "sub/out", Payload: []byte("2")}})
	if contents(t, path) != "2\n" || mode(path) != "0640" || ownerOf(t, path) != before {
		t.Errorf("after a rotation: mode %s, owner %s, before it 0640, %s", mode(path), ownerOf(t, path), before)
	}
	for _, wrong := range []string{"640x", "999", "0440", "07777"} {
		if err := (file.SinkSettings{Path: bridge.Text("x"), Mode: wrong}).Validate(); err == nil ||
			!strings.HasPrefix(err.Error(), "mode: must be octal digits") {
			t.Errorf("mode %s: %v", wrong, err)
		}
	}
}
