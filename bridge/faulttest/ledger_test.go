package faulttest_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

func payload(n uint64) []byte { return faulttest.Payload("run", 1, n, "k", 100) }

func accept(l *faulttest.Ledger, numbers ...uint64) {
	for _, n := range numbers {
		l.Sent(payload(n))
		l.Accepted(payload(n))
	}
}

func deliver(l *faulttest.Ledger, numbers ...uint64) {
	for _, n := range numbers {
		l.Delivered(payload(n))
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestLedgerNoticesEveryFailure(t *testing.T) {
	changed := func(n uint64, at int) []byte {
		p := payload(n)
		p[at] ^= 1
		return p
	}
	type report = faulttest.Report
	for _, c := range []struct {
		name  string
		do    func(l *faulttest.Ledger)
		want  report
		fails string // part of what Check says; empty: it passes
	}{
		{"nothing", func(*faulttest.Ledger) {}, report{}, ""},
		{
			"all well", func(l *faulttest.Ledger) { accept(l, 1, 2); deliver(l, 1, 2) },
			report{Sent: 2, Accepted: 2, Delivered: 2},
			"",
		},
		{
			"accepted twice", func(l *faulttest.Ledger) { accept(l, 1, 1); deliver(l, 1) },
			report{Sent: 1, Accepted: 1, Delivered: 1},
			"",
		},
		{
			"lost", func(l *faulttest.Ledger) { accept(l, 1, 2, 3); deliver(l, 1, 3) },
			report{Sent: 3, Accepted: 3, Delivered: 2, Lost: 1},
			`"run|1|2"`,
		},
		{"not accepted", func(l *faulttest.Ledger) { l.Sent(payload(1)) }, report{Sent: 1}, ""},
		{
			"unsure", func(l *faulttest.Ledger) { l.Sent(payload(1)); deliver(l, 1) },
			report{Sent: 1, Delivered: 1, Unsure: 1},
			"",
		},
		{
			"duplicated", func(l *faulttest.Ledger) { accept(l, 1); deliver(l, 1, 1, 1) },
			report{Sent: 1, Accepted: 1, Delivered: 1, Duplicated: 2},
			"",
		},
		{
			"reordered", func(l *faulttest.Ledger) { accept(l, 1, 2, 3); deliver(l, 1, 3, 2) },
			report{Sent: 3, Accepted: 3, Delivered: 3, Reordered: 1},
			"2 after 3",
		},
		{
			"reordered as allowed", func(l *faulttest.Ledger) {
				l.AllowReorder = true
				accept(l, 1, 2)
				deliver(l, 2, 1)
			},
			report{Sent: 2, Accepted: 2, Delivered: 2, Reordered: 1},
			"",
		},
		{
			"again from the start", func(l *faulttest.Ledger) { accept(l, 1, 2, 3); deliver(l, 1, 2, 1, 2, 3) },
			report{Sent: 3, Accepted: 3, Delivered: 3, Duplicated: 2},
			"",
		},
		{"other keys and producers", func(l *faulttest.Ledger) {
			for _, p := range [][]byte{
				payload(5), faulttest.Payload("run", 1, 4, "other", 0),
				faulttest.Payload("run", 2, 3, "k", 0), faulttest.Payload("new", 1, 2, "k", 0),
			} {
				l.Accepted(p)
				l.Delivered(p)
			}
		}, report{Sent: 4, Accepted: 4, Delivered: 4}, ""},
		{
			"dead letter", func(l *faulttest.Ledger) {
				accept(l, 1)
				l.DeadLettered(payload(1))
				l.DeadLettered(payload(1))
			},
			report{Sent: 1, Accepted: 1, DeadLettered: 1},
			"",
		},
		{"dropped and buffered", func(l *faulttest.Ledger) {
			accept(l, 1, 2, 3)
			l.Dropped(1)
			l.Dropped(1)
			l.Buffered(9)
			l.Buffered(1)
		}, report{Sent: 3, Accepted: 3, Dropped: 2, StillBuffered: 1}, ""},
		{
			"more lost than dropped", func(l *faulttest.Ledger) { accept(l, 1, 2, 3); l.Dropped(1); l.Buffered(1) },
			report{Sent: 3, Accepted: 3, Lost: 1, Dropped: 1, StillBuffered: 1},
			"1 messages were lost",
		},
		{
			"changed at the front", func(l *faulttest.Ledger) { l.Sent(payload(1)); l.Delivered(changed(1, 0)) },
			report{Sent: 1, Corrupt: 1},
			"corrupt",
		},
		{
			"changed counter", func(l *faulttest.Ledger) { l.Sent(payload(1)); l.Delivered(changed(1, 10)) },
			report{Sent: 1, Corrupt: 1},
			"corrupt",
		},
		{
			"changed padding", func(l *faulttest.Ledger) { l.Sent(payload(1)); l.Delivered(changed(1, 50)) },
			report{Sent: 1, Corrupt: 1},
			"corrupt",
		},
		{
			"changed checksum", func(l *faulttest.Ledger) { l.Sent(payload(1)); l.Delivered(changed(1, 99)) },
			report{Sent: 1, Corrupt: 1},
			"corrupt",
		},
		{
			"cut off", func(l *faulttest.Ledger) { accept(l, 1); l.Delivered(payload(1)[:99]) },
			report{Sent: 1, Accepted: 1, Lost: 1, Corrupt: 1},
			"lost",
		},
		{"empty", func(l *faulttest.Ledger) { l.Delivered(nil) }, report{Corrupt: 1}, "corrupt"},
		{
			"two in one", func(l *faulttest.Ledger) { accept(l, 1); l.Delivered(append(payload(1), payload(1)...)) },
			report{Sent: 1, Accepted: 1, Lost: 1, Corrupt: 1},
			"corrupt",
		},
		{
			"corrupt dead letter", func(l *faulttest.Ledger) { l.DeadLettered([]byte("?")) },
			report{Corrupt: 1},
			"dead-lettered, but changed",
		},
		{"nobody sent", func(l *faulttest.Ledger) {
			accept(l, 1)
			deliver(l, 1)
			l.Delivered(faulttest.Payload("older", 1, 1, "k", 0))
		}, report{Sent: 1, Accepted: 1, Delivered: 1, Corrupt: 1}, "nobody sent"},
		{
			"nobody sent, dead letter", func(l *faulttest.Ledger) { l.DeadLettered(payload(1)) },
			report{Corrupt: 1},
			"nobody sent",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l faulttest.Ledger
			c.do(&l)
			if got := l.Report(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			r := &recorder{TB: t}
			l.Check(r, 0)
			said := strings.Join(r.errors, "\n")
			if failed := len(r.errors) > 0; failed != (c.fails != "") || !strings.Contains(said, c.fails) {
				t.Errorf("the check said %q", said)
			}
		})
	}
}

func TestCheckWantsEnoughMessages(t *testing.T) {
	var l faulttest.Ledger
	accept(&l, 1, 2)
	deliver(&l, 1, 2)
	l.Check(t, 2)
	r := &recorder{TB: t}
	l.Check(r, 3)
	if len(r.errors) == 0 {
		t.Error("2 messages were enough for 3")
	}
}

func TestReportIsOneLine(t *testing.T) {
	r := faulttest.Report{
		Sent: 1, Accepted: 2, Delivered: 3, Lost: 4, Unsure: 5, Duplicated: 6, Reordered: 7,
		Corrupt: 8, DeadLettered: 9, Dropped: 10, StillBuffered: 11,
	}
	const want = "sent=1 accepted=2 delivered=3 lost=4 unsure=5 duplicated=6 reordered=7 corrupt=8 dead=9 " +
		"dropped=10 buffered=11"
	if got := r.String(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestPayloadIsPrintableAndOfItsSize(t *testing.T) {
	for _, key := range []string{"", "sensors/1", "a|b c\n", "ä\x00\xff"} {
		for _, n := range []uint64{0, 1, math.MaxUint64} {
			p := faulttest.Payload("a run|", -1, n, key, 200)
			if len(p) != 200 {
				t.Errorf("%q has %d bytes", p, len(p))
			}
			for _, b := range p {
				if b <= ' ' || b > '~' {
					t.Errorf("%q has a byte %q", p, b)
				}
			}
			var l faulttest.Ledger
			l.Accepted(p)
			l.Delivered(p)
			l.Check(t, 1)
		}
	}
}

func TestLedgerIsSafeAndCheapForManyMessages(t *testing.T) {
	const producers, each = 4, 50_000
	var l faulttest.Ledger
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for n := range uint64(each) {
				m := faulttest.Payload("run", p, n, "k", 0)
				l.Sent(m)
				l.Accepted(m)
				l.Delivered(m)
			}
		})
	}
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	l.Check(t, producers*each)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 2*producers*each {
		t.Errorf("%d bytes are kept for %d messages", kept, producers*each)
	}
	if r := l.Report(); r.Delivered != producers*each {
		t.Error(r)
	}
}
