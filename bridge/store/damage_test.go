package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// TestF15CorruptBuffer flips bits, cuts files short, takes some away and appends to them. Each
// time, what is reported as lost is what is missing, nothing else is, and no payload is delivered
// that was not written.
func TestF15CorruptBuffer(t *testing.T) {
	t.Parallel()
	rng := faulttest.Rand(t)
	rounds := faulttest.Pick(60, 300)
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
		before := e.buffer.Held().Before
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
		lost := e.dropped()
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
	err := filepath.WalkDir(filepath.Join(dir, "jetstream", "$G", "streams", "xrtcbridge-buffer-"+pipeline),
		func(path string, d fs.DirEntry, err error) error {
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
			more, _ := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "xrtcbridge-buffer-"+pipeline,
				"msgs", pattern))
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
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	for run := range 3 { // a second one knows what was lost, and stops all the same
		s = open(t, dir, func(s *store.Settings) { s.Strict = true })
		e = openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
		for again := range 2 { // as a bridge starts what has failed
			var batch bridge.Batch
			var err error
			for batch = numbered(1, 1, 1); err == nil && len(batch) > 0; {
				batch, _, err = e.source.Read(ctx)
			}
			if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "buffer verify") || e.dropped() == 0 != (run > 0) {
				t.Errorf("run %d, %d: %v, %d dropped", run, again, err, e.dropped())
			}
			e.reopen(t)
		}
		shut(t, s)
	}
}

// damageRecord harms the n-th record in the first file of a buffer.
func damageRecord(t *testing.T, dir string, n int, as func(record []byte)) {
	t.Helper()
	blocks, _ := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "*buffer*", "msgs", "*.blk"))
	records, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for range n {
		at += int(binary.LittleEndian.Uint32(records[at:]) &^ (1 << 31))
	}
	as(records[at:])
	if err := os.WriteFile(blocks[0], records, 0o600); err != nil {
		t.Fatal(err)
	}
}

// F15: a sequence number that is damaged costs what stands behind it in its file, and neither the
// memory of the machine nor a word less.
func TestF15SequenceNumberDamaged(t *testing.T) {
	const total = 1000
	dir := t.TempDir()
	s := open(t, dir)
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := 0; i < total; i += 10 {
		e.write(t, numbered(i+1, i+10, 200)...)
	}
	e.close()
	shut(t, s)
	damageRecord(t, dir, 40, func(record []byte) {
		record[4+3] |= 4 // 2^26: with 2^40 a server that believes it would end this machine
	})
	var log bytes.Buffer
	state := store.New(store.Settings{Dir: dir}, slog.New(slog.NewTextHandler(&log, nil)))
	e = openEnds(t, state, bridge.BufferSettings{MaxBytes: 32 << 20})
	got := e.rest(t)
	if lost := e.dropped(); len(got) == 0 || lost == 0 || len(got)+lost != total {
		t.Errorf("%d arrived, %d are reported as lost, of %d", len(got), lost, total)
	}
	shut(t, state)
	if !strings.Contains(log.String(), "a file of the store is damaged") {
		t.Errorf("no word about it:\n%s", log.String())
	}
}

// F15: a record whose headers are damaged, where the server says which one it is, costs that one,
// also at the end of the buffer.
func TestF15HeadersDamaged(t *testing.T) {
	const total = 1000
	for _, record := range []int{0, 40, 99} {
		dir := t.TempDir()
		s := open(t, dir)
		e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
		for i := 0; i < total; i += 10 {
			e.write(t, numbered(i+1, i+10, 200)...)
		}
		e.close()
		shut(t, s)
		damageRecord(t, dir, record, func(record []byte) {
			record[bytes.Index(record, []byte("NATS/1.0"))-4] += 8 // their length
		})
		state := open(t, dir)
		e = openEnds(t, state, bridge.BufferSettings{MaxBytes: 32 << 20})
		got := e.rest(t)
		if lost := e.dropped(); len(got) < total-10 || len(got)+lost != total {
			t.Errorf("record %d: %d arrived, %d are reported as lost, of %d", record, len(got), lost, total)
		}
		shut(t, state)
	}
}
