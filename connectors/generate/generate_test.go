package generate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/generate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }

func open(t testing.TB, most int, change func(*generate.Settings)) bridge.Source {
	t.Helper()
	c := generate.Connector()
	settings := c.Source.Settings().(*generate.Settings)
	change(settings)
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = most
	s, err := c.Source.Open(t.Context(), settings, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// read reads one batch, acknowledges it, and returns how many messages it had.
func read(t testing.TB, s bridge.Source) int {
	t.Helper()
	batch, ack, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ack(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return len(batch)
}

func TestCountThenEnd(t *testing.T) {
	s := open(t, 7, func(s *generate.Settings) { s.Count = 20 })
	var got []string
	for {
		batch, ack, err := s.Read(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil || len(batch) > 7 {
			t.Fatalf("Read = %d messages, %v", len(batch), err)
		}
		for _, m := range batch {
			if m.Topic != "generate" || m.Time.IsZero() {
				t.Errorf("message %+v lacks topic or time", m)
			}
			got = append(got, string(m.Payload))
		}
		_ = ack(t.Context(), nil)
	}
	if len(got) != 20 {
		t.Fatalf("%d messages, want 20", len(got))
	}
	for i, text := range got {
		var v struct {
			Seq  int
			Time time.Time
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil || v.Seq != i+1 || v.Time.IsZero() {
			t.Errorf("payload %d is %s (%v)", i, text, err)
		}
	}
}

// counted renders a text that has the number of renderings in it.
type counted struct {
	text string
	n    *int
	fail int
}

func (c counted) Render(m *bridge.Message) (string, error) {
	*c.n++
	if *c.n == c.fail {
		return "", errors.New("out of words")
	}
	return fmt.Sprintf("%s %d %s", c.text, *c.n, m.Topic), nil
}

func (c counted) Constant() (string, bool) { return "", false }

func (c counted) Prefix(string) string { return "" }

func TestTemplates(t *testing.T) {
	s := open(t, 3, func(s *generate.Settings) {
		s.Topic = counted{text: "topic", n: new(int)}
		s.Payload = counted{text: "payload", n: new(int), fail: 5}
	})
	var got []string
	var err error
	for err == nil {
		var batch bridge.Batch
		batch, _, err = s.Read(t.Context())
		for _, m := range batch {
			got = append(got, m.Topic+": "+string(m.Payload))
		}
	}
	if want := "render payload: out of words"; !bridge.IsPermanent(err) || err.Error() != want {
		t.Errorf("Read ended with %v, want the permanent error %q", err, want)
	}
	if len(got) != 4 || got[3] != "topic 4 : payload 4 topic 4 " {
		t.Errorf("got %q", got)
	}
}

func TestPace(t *testing.T) {
	for _, change := range []func(*generate.Settings){
		func(s *generate.Settings) { s.Interval = 10 * time.Millisecond },
		func(s *generate.Settings) { s.Rate = 100 },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, 1000, change)
			start := time.Now()
			for i := range 500 {
				if n := read(t, s); n != 1 {
					t.Fatalf("read %d messages at once", n)
				}
				if got, want := time.Since(start), time.Duration(i+1)*10*time.Millisecond; got != want {
					t.Fatalf("message %d came after %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

func TestRateDoesNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 1000, func(s *generate.Settings) { s.Rate = 3 })
		start := time.Now()
		for range 3 * 3600 {
			read(t, s)
		}
		if got := time.Since(start).Round(time.Millisecond); got != time.Hour {
			t.Errorf("an hour's messages took %v", got)
		}
	})
}

func TestSlowReaderCatchesUpOneSecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 60, func(s *generate.Settings) { s.Rate = 100 })
		read(t, s)
		<-time.After(500 * time.Millisecond)
		if n := read(t, s); n != 50 {
			t.Errorf("after half a second: %d messages, want 50", n)
		}
		<-time.After(time.Hour)
		if a, b := read(t, s), read(t, s); a != 60 || b != 40 {
			t.Errorf("after an hour: %d and %d messages, want 60 and 40", a, b)
		}
	})
}

// The limit on catching up is not to cost a message that comes seldom.
func TestLateMessageOfALongIntervalComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 10, func(s *generate.Settings) { s.Interval = time.Hour })
		read(t, s)
		<-time.After(time.Hour + 2*time.Second)
		start := time.Now()
		if n := read(t, s); n != 1 || time.Since(start) > 0 {
			t.Errorf("got %d messages after %v, want one at once", n, time.Since(start))
		}
	})
}

func TestReadEndsWithContextAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 10, func(s *generate.Settings) { s.Interval = time.Hour })
		read(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v, want the deadline", err)
		}
		time.AfterFunc(time.Minute, func() { _, _ = s.Close(), s.Close() })
		if _, _, err := s.Read(t.Context()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read = %v, want os.ErrClosed", err)
		}
	})
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		settings generate.Settings
		want     string
	}{
		{generate.Settings{Rate: 1, Count: 5}, ""},
		{generate.Settings{Interval: 1}, ""},
		{generate.Settings{Rate: 1, Interval: 1}, "rate: set either rate or interval"},
		{generate.Settings{Rate: -1}, "rate: must be from 0 to 1000000000 messages a second"},
		{
			generate.Settings{Count: -1, Interval: -1},
			"count: must not be negative; 0 is without end\ninterval: must not be negative",
		},
	} {
		got := ""
		if err := c.settings.Validate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.settings, got, c.want)
		}
	}
}

func BenchmarkConstantPayload(b *testing.B) {
	s := open(b, 1024, func(s *generate.Settings) {
		s.Payload, s.Count = bridge.Text("a payload of some thirty bytes"), int64(b.N)
	})
	b.ReportAllocs()
	for left := b.N; left > 0; {
		left -= read(b, s)
	}
}
