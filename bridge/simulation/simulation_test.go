package simulation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a schedule in a bubble. A panic, of the engine or since nothing moves any more, is
// a fault, too.
func (s *schedule) inBubble(t *testing.T) (faults []string, trace uint64) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, 1<<16)
			faults = append(faults, fmt.Sprintf("panic: %v\n%s", p, stack[:runtime.Stack(stack, true)]))
		}
	}()
	synctest.Test(t, func(*testing.T) { faults, trace = s.simulate() })
	return faults, trace
}

// TestSchedules runs as many schedules as it is told to, or for as long.
func TestSchedules(t *testing.T) {
	if seed, err := strconv.ParseUint(os.Getenv("XRTCBRIDGE_SEED"), 10, 64); err == nil {
		report(t, draw(seed))
		return
	}
	most, _ := strconv.Atoi(cmp.Or(os.Getenv("XRTCBRIDGE_SCHEDULES"), schedules))
	first, _ := strconv.ParseUint(os.Getenv("XRTCBRIDGE_FIRST"), 10, 64)
	end := time.Now().Add(24 * time.Hour)
	if d, err := time.ParseDuration(os.Getenv("XRTCBRIDGE_SIMULATE")); err == nil {
		end, most = time.Now().Add(d), 1<<40
	}
	var next, ran atomic.Uint64
	next.Store(first)
	var failed atomic.Pointer[schedule]
	var running sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for failed.Load() == nil && time.Now().Before(end) {
				seed := next.Add(1) - 1
				if seed >= first+uint64(most) {
					return
				}
				s := draw(seed)
				if faults, _ := s.inBubble(t); len(faults) > 0 {
					failed.CompareAndSwap(nil, s)
				}
				ran.Add(1)
			}
		})
	}
	running.Wait()
	t.Logf("%d schedules from seed %d on, %.0f a second", ran.Load(), first,
		float64(ran.Load())/time.Since(began).Seconds())
	if s := failed.Load(); s != nil {
		report(t, s)
	}
}

// report cuts a schedule down as long as it fails, and fails the test with it.
func report(t *testing.T, s *schedule) {
	t.Helper()
	faults, _ := s.inBubble(t)
	if len(faults) == 0 {
		return
	}
	t.Errorf("seed %d:\n%s\n%s", s.Seed, strings.Join(faults, "\n"), s)
	if os.Getenv("XRTCBRIDGE_SHRINK") == "0" {
		t.FailNow()
	}
	for smaller, end := true, time.Now().Add(time.Minute); smaller && time.Now().Before(end); {
		smaller = false
		for _, c := range s.smaller() {
			if f, _ := c.inBubble(t); len(f) > 0 {
				s, faults, smaller = c, f, true
				break
			}
		}
	}
	t.Fatalf("cut down:\n%s\n%s", strings.Join(faults, "\n"), s)
}

// TestSameSeedSameTrace runs schedules twice. Where several writes go on at once, those that fail
// at one instant of the bubble's clock go on in an order that the scheduler of goroutines chooses,
// so that about one in a hundred of those differs.
func TestSameSeedSameTrace(t *testing.T) {
	differ, ran := 0, 0
	for seed := range uint64(1000) {
		s := draw(seed)
		one := newWorld(s).flights(&s.To, max(1, s.InFlight)) == 1 && s.To.Mode == "sink" && len(s.Sources)+len(s.Ends) == 1
		_, a := s.inBubble(t)
		_, b := s.inBubble(t)
		switch {
		case a == b:
		case one:
			t.Errorf("seed %d has two traces", seed)
		default:
			differ++
		}
		ran++
	}
	t.Logf("%d of %d differ", differ, ran)
}

// TestFound runs the schedules that have found something, cut down.
func TestFound(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d schedules: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s schedule
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if faults, _ := s.inBubble(t); len(faults) > 0 {
			t.Errorf("%s: %s", file, strings.Join(faults, "\n"))
		}
	}
}
