package step

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// TestDedupeModel compares the ring with a list.
func TestDedupeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &dedupeSettings{Window: rapid.IntRange(1, 10).Draw(t, "window")}
		if rapid.Bool().Draw(t, "aged") {
			s.Age = time.Duration(rapid.IntRange(1, 20).Draw(t, "age"))
		}
		var runner bridge.StepRunner
		now := time.Unix(0, 0)
		d := newDedupe(s, func() time.Time { return now })
		type seen struct {
			key string
			at  time.Time
		}
		var model []seen
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "wait")))
			var batch bridge.Batch
			var want []string
			for _, k := range rapid.SliceOfN(rapid.IntRange(0, 15), 0, 5).Draw(t, "keys") {
				key := fmt.Sprint(k)
				if k == 0 {
					key = ""
				}
				batch = append(batch, bridge.Message{ID: key})
				model = slices.DeleteFunc(model, func(m seen) bool { return s.Age > 0 && now.Sub(m.at) >= s.Age })
				if key != "" && slices.ContainsFunc(model, func(m seen) bool { return m.key == key }) {
					continue
				}
				want = append(want, key)
				if key == "" {
					continue
				}
				model = append(model, seen{key, now})
				model = model[max(0, len(model)-s.Window):]
			}
			o, err := runner.Process(t.Context(), d, 1, batch, false)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range o.Messages {
				got = append(got, m.ID)
			}
			if diff := cmp.Diff(want, got); diff != "" || len(o.Dropped) != len(batch)-len(want) {
				t.Fatal(o.Dropped, diff)
			}
		}
	})
}

// TestE3DedupeWithoutAKey refuses what has no key, and goes on.
func TestE3DedupeWithoutAKey(t *testing.T) {
	d := newDedupe(&dedupeSettings{Key: fickle{}, Window: 10}, time.Now)
	o, err := new(bridge.StepRunner).Process(t.Context(), d, 1,
		bridge.Batch{{Topic: "a"}, {Topic: "bad"}, {Topic: "a"}, {Topic: "b"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Messages) != 2 || o.Messages[1].Topic != "b" || len(o.Dropped) != 1 || o.Dropped[0] != 2 ||
		len(o.Refused) != 1 || o.Refused[0].Index != 1 || o.Refused.Error() != "no key" {
		t.Errorf("%+v", o)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// fickle is a template of the topic.
type fickle struct{}

func (fickle) Render(m *bridge.Message) (string, error) {
	if m.Topic == "bad" {
		return "", errors.New("no key")
	}
	return m.Topic, nil
}

func (fickle) Constant() (string, bool) { return "", false }

func (fickle) Prefix(string) string { return "" }

func BenchmarkDedupe(b *testing.B) {
	d := newDedupe(&dedupeSettings{Window: 100_000}, time.Now)
	batch := make(bridge.Batch, 1024)
	ids := make([]string, 1<<18)
	for i := range ids {
		ids[i] = fmt.Sprintf("an64bmkqkoysg-%d", i)
	}
	b.ReportAllocs()
	var runner bridge.StepRunner
	n := 0
	for b.Loop() {
		for i := range batch {
			batch[i].ID = ids[n%len(ids)]
			n++
		}
		if _, err := runner.Process(b.Context(), d, 1, batch, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/msg")
}
