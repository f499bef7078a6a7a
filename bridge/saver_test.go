package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// saves is a checkpoint that counts.
type saves struct {
	bridge.MemoryCheckpoint
	n       atomic.Int64
	failing atomic.Bool
}

func (s *saves) Save(ctx context.Context, b []byte) error {
	s.n.Add(1)
	if s.failing.Load() {
		return errors.New("disk full")
	}
	return s.MemoryCheckpoint.Save(ctx, b)
}

// What was delivered last is saved soon, few saves do for many deliveries, what fails is tried
// again, and nothing is saved after Close.
func TestSaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(saves)
		var at atomic.Int64
		s := bridge.NewSaver(bridge.Env{Checkpoint: c, Logger: slog.New(slog.DiscardHandler)},
			func() ([]byte, error) { return []byte(strconv.FormatInt(at.Load(), 10)), nil })
		check := func(what, want string, most int64) {
			t.Helper()
			synctest.Wait()
			got, err := c.Load(t.Context())
			if n := c.n.Swap(0); err != nil || string(got) != want || n > most {
				t.Errorf("%s: %q after %d saves, want %q after %d at most", what, got, n, want, most)
			}
		}
		deliver := func() error { at.Add(1); return s.Delivered(t.Context()) }
		for range 1000 {
			if err := deliver(); err != nil {
				t.Fatal(err)
			}
		}
		check("a burst", "1", 1)
		time.Sleep(150 * time.Millisecond) //nolint:forbidigo // of the bubble's clock
		check("soon after", "1000", 1)
		time.Sleep(time.Hour) //nolint:forbidigo // of the bubble's clock
		check("and no more", "1000", 0)
		c.failing.Store(true)
		if err := deliver(); err == nil {
			t.Error("the failure is not told")
		}
		time.Sleep(time.Second) //nolint:forbidigo // of the bubble's clock
		check("failing", "1000", 12)
		c.failing.Store(false)
		time.Sleep(time.Second) //nolint:forbidigo // of the bubble's clock
		check("well again", "1001", 1)
		if err := errors.Join(deliver(), deliver(), s.Close(t.Context())); err != nil {
			t.Error(err)
		}
		check("closed", "1003", 2)
		at.Add(1)
		if err := errors.Join(s.Delivered(t.Context()), s.Save(t.Context())); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // of the bubble's clock
		check("after Close", "1003", 0)
	})
}
