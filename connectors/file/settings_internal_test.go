package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // where the system has no zones
)

// TestRotationKeepsLocalTime: the time of day, and that in the names of rotated files, are those of
// the local zone, and the names sort by age also when clocks are put back.
func TestRotationKeepsLocalTime(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when.In(zone)
	}
	for _, c := range []struct {
		at, now, since string
		pause          time.Duration
	}{
		{"00:00", "2026-11-27T23:59:50+01:00", "2026-11-27T00:00:00+01:00", 10 * time.Second},
		{"00:00", "2026-11-28T00:00:00+01:00", "2026-11-28T00:00:00+01:00", time.Minute},
		{"23:30", "2026-11-27T12:00:00+01:00", "2026-11-26T23:30:00+01:00", time.Minute},
		{"00:00", "2026-10-25T23:59:59+01:00", "2026-10-25T00:00:00+02:00", time.Second}, // a day of 25 hours
	} {
		r := Rotate{At: c.at}
		if since, pause := r.since(at(c.now)), r.pause(at(c.now)); !since.Equal(at(c.since)) || pause != c.pause {
			t.Errorf("at %s, %s: since %s, pause %s", c.at, c.now, since, pause)
		}
	}
	dir, err := openFolder(t.TempDir(), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.root.Close() }()
	var old []string
	for _, now := range []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:10:00+01:00", "2026-10-26T00:00:00+01:00"} {
		if err := os.WriteFile(filepath.Join(dir.dir, "a"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if old, err = dir.setAside("a", at(now)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{
		"a.20261025T023000.000", "a.20261025T023000.001",
		"a.20261026T000000.000",
	}; !slices.Equal(old, want) {
		t.Errorf("set aside are %q, want %q", old, want)
	}
}

// TestRotationThatFailsLeavesNothing: the name that it took is free again, or keep would count an
// empty file and remove a full one.
func TestRotationThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	d, err := openFolder(dir, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.root.Close() }()
	if _, err := d.setAside("gone.log", time.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone was set aside: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
