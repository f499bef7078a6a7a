package file_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestT5CopiedAndCutOverAndOver copies a file and cuts it, several times, where the pattern covers
// the copies: `cp x.log x.log.1; : > x.log`. Nothing comes twice, whether the copy is written over
// the one before or that is renamed first, what was read of the file or not, and if the bridge is
// down meanwhile.
func TestT5CopiedAndCutOverAndOver(t *testing.T) {
	const rounds = 4
	for _, c := range []struct {
		name                string
		shift, unread, down bool
		grace               bool // the copy before is given up before it is written over
		late                bool // it is cut long after it was copied
		header              string
	}{
		{name: "over the one before"},
		{name: "over the one before, with a header", header: "time,celsius\n"},
		{name: "over the one before, with a long header", header: strings.Repeat("column;", 200) + "\n"},
		{name: "over the one before, which was given up", grace: true},
		{name: "over the one before, with unread lines", unread: true},
		{name: "over the one before, and cut late", late: true},
		{name: "over the one before, while down", down: true},
		{name: "over the one before, while down, with a header", down: true, header: "time,celsius\n"},
		{name: "over the one before, while down, with unread lines", down: true, unread: true},
		{name: "renamed first", shift: true},
		{name: "renamed first, with a header", shift: true, header: "time,celsius\n"},
		{name: "renamed first, with unread lines", shift: true, unread: true},
		{name: "renamed first, while down", shift: true, down: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time it waits
			path := filepath.Join(t.TempDir(), "x.log")
			put(t, path, c.header+"first\n")
			r := &restarts{t: t, pattern: path + "*"}
			r.open()
			want := strings.Split(c.header+"first", "\n")
			expect(t, r.source, want...)
			var got []string
			want = nil
			for i := range rounds {
				lines := numbered(fmt.Sprint("round ", i), 0, 20)
				appendTo(t, path, text(lines...))
				want = append(want, lines...)
				if !c.unread {
					got = append(got, read(t, r.source, len(want)-len(got))...)
				}
				if c.grace {
					expectNothing(t, r.source)
					expectNothing(t, r.source)
					expectNothing(t, r.source)
				}
				if c.down {
					r.close()
				}
				if c.shift {
					for n := rounds; n > 0; n-- {
						if exists(fmt.Sprint(path, ".", n)) {
							rename(t, fmt.Sprint(path, ".", n), fmt.Sprint(path, ".", n+1))
						}
					}
				}
				put(t, path+".1", contents(t, path))
				if c.late {
					if b, _, err := readWithin(t, r.source, 2500*time.Millisecond); err == nil {
						t.Fatalf("%d lines come twice, the first is %q of %s", len(b), b[0].Payload, b[0].ID)
					}
				}
				put(t, path, "")
				if c.down {
					r.open()
				}
				begin := c.header + fmt.Sprint("begin ", i)
				appendTo(t, path, begin+"\n")
				want = append(want, strings.Split(begin, "\n")...)
				got = append(got, read(t, r.source, len(want)-len(got))...)
			}
			slices.Sort(want)
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("lines differ (-want +got):\n%s", d)
			}
			// What is held back as a possible copy comes after 2 s.
			if b, _, err := readWithin(t, r.source, 3*time.Second); err == nil {
				t.Errorf("%d lines come twice, the first is %q of %s", len(b), b[0].Payload, b[0].ID)
			}
			r.close()
		})
	}
}
