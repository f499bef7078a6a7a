package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// TestF17RotationOfEachStyle writes lines through many rotations, while the follower stalls, stops
// and starts again. All files begin with the same header. Lost 0, twice 0.
func TestF17RotationOfEachStyle(t *testing.T) {
	shift := func(t *testing.T, path, ending string) {
		for i := 60; i > 0; i-- {
			if from := fmt.Sprint(path, ".", i, ending); exists(from) {
				rename(t, from, fmt.Sprint(path, ".", i+1, ending))
			}
		}
	}
	for style, rotate := range map[string]func(t *testing.T, path string, round int){
		"rename": func(t *testing.T, path string, _ int) {
			shift(t, path, "")
			rename(t, path, path+".1")
		},
		"copytruncate": func(t *testing.T, path string, _ int) {
			shift(t, path, "")
			put(t, path+".1", contents(t, path))
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"delete": func(t *testing.T, path string, _ int) { remove(t, path) },
		"symlink": func(t *testing.T, path string, round int) {
			put(t, fmt.Sprint(path, ".d", round+1), "")
			if err := os.Symlink(fmt.Sprint(path, ".d", round+1), path+".new"); err != nil {
				t.Fatal(err)
			}
			rename(t, path+".new", path)
		},
		"gzip": func(t *testing.T, path string, _ int) {
			shift(t, path, ".gz")
			rename(t, path, path+".1")
			packFile(t, "gz", path+".1")
		},
		"gzip later": func(t *testing.T, path string, _ int) { // delaycompress
			shift(t, path, ".gz")
			if exists(path + ".1") {
				rename(t, path+".1", path+".2")
				packFile(t, "gz", path+".2")
			}
			rename(t, path, path+".1")
		},
		"copytruncate over the copy before": func(t *testing.T, path string, _ int) {
			put(t, path+".1", contents(t, path))
			put(t, path, "")
		},
	} {
		rotationOfStyle(t, style, "", rotate)
		if style != "symlink" {
			rotationOfStyle(t, style, "*", rotate) // covers what is rotated, too
		}
	}
}

func rotationOfStyle(t *testing.T, style, pattern string, rotate func(t *testing.T, path string, round int)) {
	t.Run(style+pattern, func(t *testing.T) {
		t.Parallel() // most of the time it waits
		rounds, lines := faulttest.Pick(10, 50), faulttest.Pick(10_000, 300_000)
		rng := faulttest.Rand(t)
		path := filepath.Join(t.TempDir(), "app.log")
		if style == "symlink" {
			rotate(t, path, -1)
		}
		r := &restarts{t: t, pattern: path + pattern}
		r.open()
		const header = "time,celsius"
		var want, got []string
		down := false
		write := func(n int) {
			var b strings.Builder
			for range n {
				want = append(want, fmt.Sprintf("line %d of some length", len(want)))
				b.WriteString(want[len(want)-1] + "\n")
			}
			appendTo(t, path, b.String())
		}
		catchUp := func() {
			if down {
				r.open()
				down = false
			}
			got = append(got, read(t, r.source, len(want)-len(got))...)
		}
		for round := range rounds {
			want = append(want, header)
			appendTo(t, path, header+"\n")
			for n := lines / rounds; n > 0; {
				some := min(n, 1+rng.IntN(lines/rounds))
				n -= some
				write(some)
				switch rng.IntN(4) {
				case 0: // it stalls
				case 1:
					catchUp()
				default:
					if down = !down; down {
						r.close()
					} else {
						r.open()
					}
				}
			}
			if round == rounds-1 {
				break
			}
			// What is deleted or led away from before it is read is lost.
			// So is what was not read of a file, when its copy is written over.
			if style == "delete" || style == "symlink" || strings.HasSuffix(style, "before") {
				catchUp()
			}
			rotate(t, path, round)
		}
		catchUp()
		// What is held back as a possible copy comes after 2 s.
		if b, _, err := readWithin(t, r.source, 3*time.Second); err == nil {
			t.Fatalf("%d lines come twice, the first is %q of %s", len(b), b[0].Payload, b[0].ID)
		}
		r.close()
		// The order of what nobody saw is not known.
		if pattern != "" || strings.HasPrefix(style, "copytruncate") || strings.HasPrefix(style, "gzip") {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(want, got) {
			for i := range want {
				if want[i] != got[i] {
					t.Fatalf("%d lines; line %d (-want +got):\n%s", len(got), i,
						cmp.Diff(want[i:min(i+5, len(want))], got[i:min(i+5, len(got))]))
				}
			}
		}
		t.Logf("%d lines, lost 0, twice 0", len(got))
	})
}

func readWithin(t testing.TB, s bridge.Source, d time.Duration) (bridge.Batch, bridge.Ack, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return s.Read(ctx)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
