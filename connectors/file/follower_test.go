package file_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

func follow(t testing.TB, pattern string, change ...func(*file.SourceSettings)) bridge.Source {
	t.Helper()
	s, err := openSource(t, func(s *file.SourceSettings) {
		s.Path, s.Follow = []string{pattern}, true
		for _, c := range change {
			c(s)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expect reads as many lines as want has and compares.
func expect(t testing.TB, s bridge.Source, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, read(t, s, len(want))); d != "" {
		t.Fatalf("lines differ (-want +got):\n%s", d)
	}
}

// expectNothing fails if there is anything to read, now or within some polls.
func expectNothing(t testing.TB, s bridge.Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if batch, _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("read %q, %v, want nothing", batch, err)
	}
}

func TestT2PartialLineWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.log")
	put(t, path, "one\ntw")
	s := follow(t, path)
	expect(t, s, "one")
	expectNothing(t, s)
	appendTo(t, path, "o\n")
	expect(t, s, "two")
}

func TestFromEnd(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.log"), "old\nhalf")
	s := follow(t, filepath.Join(dir, "*.log"), func(s *file.SourceSettings) { s.From = "end" })
	expectNothing(t, s)
	appendTo(t, filepath.Join(dir, "a.log"), " a line\n")
	expect(t, s, "half a line")
	put(t, filepath.Join(dir, "b.log"), "all of a later file\n")
	expect(t, s, "all of a later file")
}

func TestFileComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	s := follow(t, filepath.Join(dir, "in.log"))
	expectNothing(t, s)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "in.log"), "here\n")
	expect(t, s, "here")
}

// TestF17RotatedWhileStalled does everything that rotation does while Read is
// not called. What was there when the follower could look must not be lost.
func TestF17RotatedWhileStalled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n")
	s := follow(t, path)
	rename(t, path, path+".1")
	appendTo(t, path+".1", "2\n")
	put(t, path, "3\n")
	rename(t, path+".1", path+".2")
	rename(t, path, path+".1")
	put(t, path, "4\n")
	expect(t, s, "1", "2", "3", "4")
	appendTo(t, path+".2", "late\n")
	expect(t, s, "late")
	appendTo(t, path, "5\n")
	expect(t, s, "5")
}

func TestF17DeletedWhileStalled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n2\nwithout end")
	s := follow(t, path)
	remove(t, path)
	put(t, path, "3\n")
	expect(t, s, "1", "2", "without end", "3")
	expectNothing(t, s)
}

func TestF17EmptyFileIsRotated(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, path string){
		"renamed": func(t *testing.T, path string) {
			rename(t, path+".1", path+".2")
			rename(t, path, path+".1")
		},
		"deleted": func(t *testing.T, path string) { remove(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			put(t, path, "1\n")
			s := follow(t, path)
			expect(t, s, "1")
			rename(t, path, path+".1")
			put(t, path, "")
			expectNothing(t, s)
			set(t, path)
			put(t, path, "2\n")
			expect(t, s, "2")
			expectNothing(t, s)
			appendTo(t, path, "3\n")
			expect(t, s, "3")
		})
	}
}

// TestUnfinishedLineIsTakenBack has a writer that cuts its file back to the last whole line
// after a write that failed half-way, as the sink does.
func TestUnfinishedLineIsTakenBack(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, before := range []string{"", "one\n", long + "\n"} {
		path := filepath.Join(t.TempDir(), "app.log")
		put(t, path, before+"unfin")
		s := follow(t, path)
		if before != "" {
			expect(t, s, strings.TrimSuffix(before, "\n"))
		}
		expectNothing(t, s)
		if err := os.Truncate(path, int64(len(before))); err != nil {
			t.Fatal(err)
		}
		expectNothing(t, s)
		appendTo(t, path, "two\n")
		expect(t, s, "two")
		expectNothing(t, s)
	}
}

func TestPackedFilesAreNotFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n")
	put(t, path+".2.gz", "packed before\n")
	s := follow(t, path+"*")
	expect(t, s, "1")
	put(t, path+".1.gz", "packed\n")
	put(t, path+".1.zst.tmp", "being packed\n")
	expectNothing(t, s)
}

// TestFilesOfTheSameFrontAreNoCopies when they are there from the start.
func TestFilesOfTheSameFrontAreNoCopies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.csv")
	put(t, path, "time,celsius\n")
	put(t, path+".1", "time,celsius\n7,21\n")
	got := read(t, follow(t, path+"*"), 3)
	slices.Sort(got)
	if d := cmp.Diff([]string{"7,21", "time,celsius", "time,celsius"}, got); d != "" {
		t.Error(d)
	}
}

func TestF17PatternMatchesRotatedNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n")
	put(t, path+".1", "0\n")
	s := follow(t, path+"*")
	got := read(t, s, 2)
	slices.Sort(got)
	if d := cmp.Diff([]string{"0", "1"}, got); d != "" {
		t.Fatal(d)
	}
	for i := range 5 {
		rename(t, path+".1", path+".2")
		rename(t, path, path+".1")
		put(t, path, fmt.Sprintf("new %d\n", i))
		expect(t, s, fmt.Sprintf("new %d", i))
		expectNothing(t, s)
	}
}

func TestF17OldRotatedFilesStayUnread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path+".1", "from before\n")
	put(t, path+".2.gz", "packed")
	put(t, path, "1\n")
	s := follow(t, path)
	expect(t, s, "1")
	rename(t, path+".1", path+".2")
	rename(t, path, path+".1")
	put(t, path, "2\n")
	expect(t, s, "2")
	put(t, path+".1.gz", "packed")
	expectNothing(t, s)
}

// TestF17CopyTruncate cuts a file that was read: the copy is not read, and
// lines after the cut are.
func TestF17CopyTruncate(t *testing.T) {
	for _, pattern := range []string{"app.log", "app.log*"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.log")
		put(t, path, "first\nsecond\n")
		s := follow(t, filepath.Join(dir, pattern))
		expect(t, s, "first", "second")
		put(t, path+".1", contents(t, path))
		expectNothing(t, s)
		put(t, path, "third\n") // truncates
		expect(t, s, "third")
		put(t, path, "a line that is longer than what was there\nand another\n")
		expect(t, s, "a line that is longer than what was there", "and another")
		expectNothing(t, s)
	}
}

func TestUnreadableFileIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "b.log")
	put(t, filepath.Join(dir, "a.log"), "a\n")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	s := follow(t, filepath.Join(dir, "*.log"))
	expect(t, s, "a")
	put(t, filepath.Join(dir, "nowhere"), "b\n")
	expect(t, s, "b")
}

func TestF17SymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	for i := range 5 {
		put(t, filepath.Join(dir, fmt.Sprint("target", i)), fmt.Sprintf("line of %d\n", i))
	}
	swap := func(i int) {
		if err := os.Symlink(filepath.Join(dir, fmt.Sprint("target", i)), link+".new"); err != nil {
			t.Fatal(err)
		}
		rename(t, link+".new", link)
	}
	swap(0)
	s := follow(t, link)
	expect(t, s, "line of 0")
	for i := 1; i < 5; i++ {
		swap(i)
		expect(t, s, fmt.Sprintf("line of %d", i))
	}
}

// TestF17RotationUnderLoad writes 20,000 lines a second while the file is
// renamed, or deleted, and made anew again and again: every line comes once, in order.
func TestF17RotationUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds int
		rotate func(t *testing.T, path string, round int)
	}{
		{"rename", 50, func(t *testing.T, path string, round int) {
			rename(t, path, fmt.Sprintf("%s.%d", path, round+1))
		}},
		{"shift", 30, func(t *testing.T, path string, _ int) {
			for i := 30; i > 0; i-- { // none is written over, which the follower may not have seen
				if _, err := os.Stat(fmt.Sprintf("%s.%d", path, i)); err == nil {
					rename(t, fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1))
				}
			}
			rename(t, path, path+".1")
		}},
		{"rename-empty", 30, func(t *testing.T, path string, round int) {
			rename(t, path, fmt.Sprintf("%s.%d", path, 2*round))
			put(t, path, "")
			rename(t, path, fmt.Sprintf("%s.%d", path, 2*round+1))
		}},
		{"delete", 20, func(t *testing.T, path string, _ int) {
			awaitOpen(t, path)
			remove(t, path)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			path := filepath.Join(t.TempDir(), "app.log")
			put(t, path, "")
			// How long a writer takes to leave a file is the machine's affair.
			s := follow(t, path, func(s *file.SourceSettings) { s.Grace = bridgetest.Timeout })
			total := make(chan int, 1)
			stop := make(chan struct{})
			var writer sync.WaitGroup
			writer.Go(func() {
				total <- load(t, stop, path, c.rounds, rand.New(rand.NewPCG(seed, 0)), c.rotate)
			})
			defer writer.Wait()
			defer close(stop)
			next := 0
			for ended := false; !ended; {
				for _, got := range read(t, s, 1) {
					if ended = got == "end"; ended {
						break
					}
					if got != fmt.Sprintf("line %d", next) {
						late := read(t, s, 1) // says whether it is lost, or out of order
						t.Fatalf("got %q, want line %d; then comes %q", got, next, late[0])
					}
					next++
				}
			}
			if want := <-total; next != want {
				t.Fatalf("%d lines, want %d", next, want)
			}
			t.Logf("%d lines, lost 0, duplicated 0", next)
			expectNothing(t, s)
		})
	}
}

// load writes lines at 20,000 a second and rotates at random moments, in the
// middle of a line that it then ends in the file that has gone. A file stands for 20 ms
// at least, however the machine is loaded, so that their times tell their order.
// It returns how many lines it wrote.
func load(t *testing.T, stop <-chan struct{}, path string, rounds int, r *rand.Rand, rotate func(*testing.T, string, int)) (lines int) {
	const rate = 20_000
	start := time.Now()
	for round := range rounds {
		select {
		case <-stop:
			return lines
		default:
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			t.Error(err)
			return lines
		}
		for end := lines + 200 + r.IntN(1000); lines < end; {
			var text strings.Builder
			for range 1 + r.IntN(50) {
				fmt.Fprintf(&text, "line %d\n", lines)
				lines++
			}
			cut := r.IntN(text.Len())
			_, _ = f.WriteString(text.String()[:cut])
			if lines >= end && round < rounds-1 {
				<-time.After(20 * time.Millisecond)
				rotate(t, path, round)
			}
			_, _ = f.WriteString(text.String()[cut:])
			<-time.After(time.Until(start.Add(time.Duration(lines) * time.Second / rate)))
		}
		if round == rounds-1 {
			_, _ = f.WriteString("end\n")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	return lines
}

func TestDescriptorsAreClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "0\n")
	before := descriptors(t)
	s := follow(t, path, func(s *file.SourceSettings) { s.Grace = 10 * time.Millisecond })
	expect(t, s, "0")
	for i := range 30 {
		remove(t, path)
		put(t, path, fmt.Sprintln(i))
		expect(t, s, fmt.Sprint(i))
	}
	bridgetest.Eventually(t, "one file is open, and what watching it takes", func() bool {
		expectNothing(t, s)
		return descriptors(t)-before <= 4
	})
	_ = s.Close()
	bridgetest.Eventually(t, "no more is open than before", func() bool { return descriptors(t) <= before })
}

// awaitOpen waits until the follower holds the file open, beside its writer:
// nobody can follow a file that came and went while the machine was busy elsewhere.
func awaitOpen(t *testing.T, path string) {
	deadline := time.Now().Add(bridgetest.Timeout)
	for {
		open := 0
		fds, err := filepath.Glob("/proc/self/fd/*")
		if err != nil || len(fds) == 0 {
			return // no such thing here
		}
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == path {
				open++
			}
		}
		if open > 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the follower did not open %s", path)
			return
		}
		<-time.After(time.Millisecond)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		bridgetest.Missing(t, "/proc")
	}
	return len(entries)
}

// TestMoreFilesThanMayBeOpen has every file come twice to those that are open.
func TestMoreFilesThanMayBeOpen(t *testing.T) {
	const files = 700
	dir := t.TempDir()
	path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%03d.log", i)) }
	for i := range files {
		put(t, path(i), fmt.Sprintf("%03d.0\n", i))
	}
	s := follow(t, filepath.Join(dir, "*.log"))
	for round := range 4 {
		var want []string
		for i := range files {
			want = append(want, fmt.Sprintf("%03d.%d", i, round))
		}
		got := read(t, s, files)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, d)
		}
		bridgetest.Eventually(t, "no more files are open than may be", func() bool {
			expectNothing(t, s)
			return descriptors(t) <= 600
		})
		for i := range files {
			appendTo(t, path(i), fmt.Sprintf("%03d.%d\n", i, round+1))
		}
	}
}
