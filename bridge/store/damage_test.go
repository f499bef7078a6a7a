package store_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// TestF15CorruptBuffer flips bits, cuts files short, takes some away and appends to them. Each time, what is reported as lost is what
// is missing, nothing else is, and no payload is delivered that was not written.
func TestF15CorruptBuffer(t *testing.T) {
	rng := faulttest.Rand(t)
	rounds := faulttest.Pick(60, 300)
	if testing.Short() {
		rounds = 10
	}
	const total = 2000
	origin := t.TempDir()
	s := open(t, origin)
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := 0; i < total; i += 20 {
		e.write(t, numbered(i+1, i+20, 200)...)
	}
	e.read(t, 256, true)
	shut(t, s)

	want := make(map[string]bool)
	for _, p := range payloads(numbered(1, total, 200)) {
		want[p] = true
	}
	lostMost := 0
	for round := range rounds {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
			t.Fatal(err)
		}
		what := damage(t, rng, dir)
		state := open(t, dir)
		e := openEnds(t, state, bridge.BufferSettings{MaxBytes: 32 << 20})
		before, _ := e.buffer.Held()
		got := e.rest(t)
		shut(t, state)
		seen := make(map[string]bool)
		for _, m := range got {
			p := string(m.Payload)
			if !want[p] || seen[p] {
				t.Fatalf("round %d, %s: delivered %q, twice or never written", round, what, p)
			}
			seen[p] = true
		}
		lost := int(e.dropped.Load())
		lostMost = max(lostMost, lost)
		if int(before) != len(got)+lost {
			t.Errorf("round %d, %s: held %d, delivered %d, reported %d as lost", round, what, before, len(got), lost)
		}
		// Settled ones may come again, owed ones may not be missing without a word.
		missing := 0
		for _, p := range payloads(numbered(257, total, 200)) {
			if !seen[p] {
				missing++
			}
		}
		if missing != lost {
			t.Errorf("round %d, %s: %d are missing, %d were reported as lost", round, what, missing, lost)
		}
	}
	if lostMost == 0 {
		t.Error("no damage did any harm: the test sees nothing")
	}
	t.Logf("%d rounds, at most %d of %d lost, each reported", rounds, lostMost, total-256)
}

// damage harms one file of the buffer's stream, and says how.
func damage(t *testing.T, rng *rand.Rand, dir string) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(dir, "jetstream", "$G", "streams", "xrtcbridge-buffer-"+pipeline), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 3 {
		t.Fatalf("files of the stream: %v, %v", files, err)
	}
	if rng.IntN(3) > 0 { // mostly where the messages are
		files = nil
		for _, pattern := range []string{"*.blk", "*.db"} {
			more, _ := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "xrtcbridge-buffer-"+pipeline, "msgs", pattern))
			files = append(files, more...)
		}
	}
	path := files[rng.IntN(len(files))]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	how := [...]string{"bits flipped", "cut", "deleted", "appended"}[rng.IntN(4)]
	switch {
	case how == "deleted":
		err = os.Remove(path)
	case how == "appended":
		err = os.WriteFile(path, append(content, strings.Repeat("garbage", 10)...), 0o600)
	case len(content) == 0:
		how = "left alone"
	case how == "cut":
		err = os.WriteFile(path, content[:rng.IntN(len(content))], 0o600)
	default:
		for range 1 + rng.IntN(3) {
			content[rng.IntN(len(content))] ^= 1 << rng.IntN(8)
		}
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path) + " " + how
}

func TestStrictStopsAtLoss(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := 0; i < 1000; i += 10 {
		e.write(t, numbered(i+1, i+10, 200)...)
	}
	e.read(t, 256, true)
	shut(t, s)
	blocks, _ := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "*buffer*", "msgs", "*.blk"))
	for _, b := range blocks {
		content, err := os.ReadFile(b)
		if err == nil {
			content[len(content)/2] ^= 4
			err = os.WriteFile(b, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e = openEnds(t, open(t, dir, func(s *store.Settings) { s.Strict = true }), bridge.BufferSettings{MaxBytes: 32 << 20})
	for {
		batch, _, err := e.source.Read(t.Context())
		if err != nil {
			if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "buffer verify") || e.dropped.Load() == 0 {
				t.Error(err, e.dropped.Load())
			}
			return
		}
		if len(batch) == 0 {
			t.Fatal("nothing was lost")
		}
	}
}
