package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// A ring is a slice that loses its front.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 40).Draw(t, "capacity")
		var r ring
		var want []entry
		var next uint64
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				next++
				e := entry{seq: next, text: make([]byte, 1), held: rapid.IntRange(0, 9).Draw(t, "size")}
				if want = append(want, e); len(want) > capacity {
					want = want[1:]
				}
				r.push(e, capacity)
			},
			"pop": func(t *rapid.T) {
				if len(want) == 0 {
					return // there is nothing to pop
				}
				r.pop()
				if want = want[1:]; len(r.slots) > max(leastSlots, 4*r.n) {
					t.Fatalf("%d slots are left for %d entries", len(r.slots), r.n)
				}
			},
			"": func(t *rapid.T) {
				if r.n != len(want) || len(r.slots) > capacity {
					t.Fatalf("got %d entries in %d slots, want %d in at most %d", r.n, len(r.slots), len(want), capacity)
				}
				held, size := 0, len(r.slots)*entrySize
				for i := range want {
					size += want[i].held
					if got := r.at(i); got.seq != want[i].seq {
						t.Fatalf("at %d: got %d, want %d", i, got.seq, want[i].seq)
					}
				}
				for _, e := range r.slots {
					if e.text != nil {
						held++
					}
				}
				if held != len(want) || r.size() != size {
					t.Fatalf("got %d texts held and size %d, want %d and %d", held, r.size(), len(want), size)
				}
			},
		})
	})
}

// An answer is filled to the last byte, and not beyond.
func TestFit(t *testing.T) {
	items := [][]byte{[]byte(`{"payload":"one"}`), []byte(`{"payload":"2"}`), []byte(`{}`)}
	for _, count := range []int{1, 2, 3, 9} {
		for _, short := range []int{0, 1} {
			t.Run(fmt.Sprintf("count=%d,short=%d", count, short), func(t *testing.T) {
				limits := Open()
				limits.ItemCountMax = count
				limits.PayloadSizeMax = len(wire.AppendAnswer(nil, items, nil)) + len("\n") - short
				f := (&account{server: &Server{limits: limits}}).newFit()
				for _, i := range items {
					if !f.add(i) {
						break
					}
				}
				if got, want := len(f.texts), min(count, len(items)-short); got != want {
					t.Errorf("got %d items, want %d", got, want)
				}
			})
		}
	}
	f := (&account{server: &Server{limits: Limits{PayloadSizeMax: 1, ItemCountMax: 1}}}).newFit()
	if !f.add(items[0]) || f.add(items[2]) {
		t.Error("one item that is too large must fit, and no other beside it")
	}
}

// In the model, time goes by whole hours and all bounds lie between them, so that the time which the
// test takes does not matter.
const modelAge = 10*time.Hour + 30*time.Minute

// modelItem is an item that was ever set. Its number is its place in the list of all, from 1.
type modelItem struct {
	seq    int
	portal string
	at     time.Duration
	ts     int64
	text   string
	gone   bool
}

// model is an account that keeps everything in one list and looks through all of it each time.
type model struct {
	limits Limits
	now    time.Duration
	clock  time.Duration // what the wall clock is off
	ts     int64
	all    []*modelItem
	there  map[string]bool // the portals
}

func (m *model) wall() time.Time { return time.UnixMilli(1795327834000).Add(m.now + m.clock) }

// of returns the items of a portal from a number on that are there.
func (m *model) of(portal string, from int) (held []*modelItem) {
	for _, i := range m.all {
		if i.portal == portal && i.seq >= from && !i.gone {
			held = append(held, i)
		}
	}
	return held
}

// place is which item of its portal it is.
func (m *model) place(item *modelItem) (n int64) {
	for _, i := range m.all[:item.seq] {
		if i.portal == item.portal {
			n++
		}
	}
	return n
}

// next is the number of the oldest item of a portal that is there, from a number on, or of the next item of all.
func (m *model) next(portal string, from int) int {
	if held := m.of(portal, from); len(held) > 0 {
		return held[0].seq
	}
	return len(m.all) + 1
}

func (m *model) advance(d time.Duration) {
	m.now += d
	for _, i := range m.all {
		i.gone = i.gone || m.now-i.at > m.limits.ItemAgeMax
	}
}

func (m *model) set(items []wire.SetItem) int64 {
	m.ts = max(m.ts, m.wall().UnixMilli())
	for _, s := range items {
		name := string(s.PortalID)
		m.makePortal(name)
		m.all = append(m.all, &modelItem{
			seq: len(m.all) + 1, portal: name, at: m.now, ts: m.ts,
			text: fmt.Sprintf(`{"portalid":"%s","payload":%s,"servertimestamp":%d}`, name, s.Text, m.ts),
		})
		if held := m.of(name, 1); len(held) > m.limits.RingCapacity {
			held[0].gone = true
		}
	}
	return m.ts
}

func (m *model) makePortal(name string) {
	if m.there[name] {
		return
	}
	newest := make(map[string]int)
	if len(m.there) >= m.limits.PortalsCountMax {
		for other := range m.there {
			held := m.of(other, 1)
			if len(held) == 0 {
				delete(m.there, other)
				continue
			}
			newest[other] = held[len(held)-1].seq
		}
	}
	if len(m.there) >= m.limits.PortalsCountMax {
		var oldest string
		for other, seq := range newest {
			if oldest == "" || seq < newest[oldest] {
				oldest = other
			}
		}
		delete(m.there, oldest)
		for _, i := range m.of(oldest, 1) {
			i.gone = true
		}
	}
	m.there[name] = true
}

func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// fit returns as many as an answer has room for, at least one.
func (m *model) fit(items []*modelItem) []*modelItem {
	size := len(`{"items":[`) - len(",") + len("]}\n")
	for n, i := range items {
		size += len(",") + len(i.text)
		if n > 0 && (n == m.limits.ItemCountMax || size > m.limits.PayloadSizeMax) {
			return items[:n]
		}
	}
	return items
}

func (m *model) latest() []*modelItem {
	var newest []*modelItem
	for portal := range m.there {
		if held := m.of(portal, 1); len(held) > 0 {
			newest = append(newest, held[len(held)-1])
		}
	}
	slices.SortFunc(newest, func(x, y *modelItem) int { return y.seq - x.seq })
	return m.fit(newest)
}

func (m *model) claim(s map[string]int, get *wire.Get) (items []*modelItem) {
	unread := make(map[string]bool)
	for _, p := range get.Portals {
		if s[p.ID] == 0 {
			s[p.ID] = m.next(p.ID, 1)
		}
		held := m.of(p.ID, s[p.ID])
		if get.Cutoff >= 0 {
			held = slices.DeleteFunc(held, func(i *modelItem) bool { return (m.now - i.at).Milliseconds() > get.Cutoff })
		}
		s[p.ID] = len(m.all) + 1
		if len(held) > 0 {
			s[p.ID] = held[0].seq
		}
		held = slices.DeleteFunc(held, func(i *modelItem) bool { return i.ts < p.Since })
		unread[p.ID] = len(held) > 0
		items = append(items, held...)
	}
	slices.SortFunc(items, func(x, y *modelItem) int { return x.seq - y.seq })
	if get.Schedule == "FIFO" {
		items = m.fit(items)
		for _, i := range items {
			s[i.portal] = i.seq + 1
		}
		return items
	}
	slices.Reverse(items)
	for portal, some := range unread {
		if some {
			s[portal] = len(m.all) + 1
		}
	}
	return m.fit(items)
}

// TestAccount does the same to an account and to the model, and wants the same answers.
func TestAccount(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	payloads := rapid.OneOf(
		rapid.StringOfN(rapid.SampledFrom([]rune("x\"\\\né<😀")), 0, 8, -1),
		// often fills an answer to the last byte
		rapid.Map(rapid.IntRange(0, 40), func(n int) string { return strings.Repeat("y", n) }),
		rapid.Map(rapid.IntRange(300, 700), func(n int) string { return strings.Repeat("z", n) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		limits := Open()
		limits.ItemAgeMax = modelAge
		limits.PortalsCountMax = rapid.IntRange(1, 4).Draw(t, "portals")
		limits.RingCapacity = rapid.IntRange(1, 12).Draw(t, "ring")
		limits.ItemCountMax = rapid.IntRange(1, 8).Draw(t, "count")
		limits.PayloadSizeMax = rapid.IntRange(128, 600).Draw(t, "size")
		m := &model{limits: limits, there: make(map[string]bool)}
		_, k := NewKey()
		s, err := New(Config{Accounts: []Account{{ID: "AC1000", Keys: []Key{k}}}, Limits: limits, Now: m.wall})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close() // nothing is swept meanwhile
		a := s.accounts.find("AC1000")
		sessions, readings := make([]*session, 3), make([]map[string]int, 3)
		for i := range sessions {
			sessions[i] = &session{account: a, positions: make(map[string]*count)}
			readings[i] = make(map[string]int)
		}
		draw := func(t *rapid.T) []wire.SetItem {
			items := make([]wire.SetItem, rapid.IntRange(1, 6).Draw(t, "items"))
			for i := range items {
				items[i] = wire.SetItem{
					PortalID: []byte(rapid.SampledFrom(names).Draw(t, "portal")),
					Text:     []byte(quote(payloads.Draw(t, "payload"))),
				}
			}
			return items
		}
		check := func(t *rapid.T, got [][]byte, items []*modelItem) {
			var texts, want []string
			for _, text := range got {
				texts = append(texts, string(text))
			}
			for _, i := range items {
				want = append(want, i.text)
			}
			if diff := cmp.Diff(want, texts); diff != "" {
				t.Fatalf("items (-want +got)\n%s", diff)
			}
		}
		set := func(t *rapid.T) {
			items := draw(t)
			got, err := a.set(items)
			if want := m.set(items); err != nil || got != want {
				t.Fatalf("got timestamp %d, %v, want %d", got, err, want)
			}
		}
		claim := func(t *rapid.T) {
			get := wire.Get{Mode: "probe", Cutoff: -1, Schedule: rapid.SampledFrom([]string{"FIFO", "LIFO"}).Draw(t, "schedule")}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "portals") {
				p := wire.Portal{ID: id}
				if n := len(m.all); n > 0 && rapid.IntRange(0, 4).Draw(t, "bounded") == 0 {
					p.Since = m.all[rapid.IntRange(0, n-1).Draw(t, "since")].ts
				}
				get.Portals = append(get.Portals, p)
			}
			if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				get.Cutoff = (time.Duration(rapid.IntRange(0, 4).Draw(t, "hours"))*time.Hour + 30*time.Minute).Milliseconds()
			}
			i := rapid.IntRange(0, len(sessions)-1).Draw(t, "session")
			got, places, size, err := a.claim(sessions[i], &get)
			if err != nil {
				t.Fatal(err)
			}
			a.giveBack(size)
			want := m.claim(readings[i], &get)
			check(t, got, want)
			firsts := make(map[string]int64)
			for _, i := range want {
				if firsts[i.portal] == 0 {
					firsts[i.portal] = m.place(i)
				}
			}
			var answer wire.Answer
			if err := answer.Decode(wire.AppendAnswer(nil, got, places)); err != nil {
				t.Fatal(err)
			}
			for portal, p := range answer.Places {
				if p.Life != a.portals[portal].life || p.Number != firsts[portal] || len(answer.Places) != len(firsts) {
					t.Fatalf("got places %v, want %v", answer.Places, firsts)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": set, "set more": set,
			"claim": claim, "claim more": claim, "claim still more": claim,
			"set too much": func(t *rapid.T) {
				items := append(draw(t), wire.SetItem{PortalID: []byte("a"), Text: make([]byte, mostPayload)})
				if _, err := a.set(items); err == nil {
					t.Fatal("it was taken")
				}
			},
			"latest": func(t *rapid.T) { check(t, a.latest(nil), m.latest()) },
			"advance": func(t *rapid.T) {
				d := time.Duration(rapid.IntRange(1, 6).Draw(t, "hours")) * time.Hour
				s.start = s.start.Add(-d)
				m.advance(d)
			},
			"step": func(t *rapid.T) {
				m.clock = time.Duration(rapid.IntRange(-48, 48).Draw(t, "clock")) * time.Hour
			},
			"": func(t *rapid.T) { checkAccount(t, a, m) },
		})
	})
}

// checkAccount compares what the account holds with the model, but for what it has yet to throw away.
func checkAccount(t *rapid.T, a *account, m *model) {
	bytes := len(a.gone) * goneSize
	for name, p := range a.portals {
		if !m.there[name] {
			t.Fatalf("portal %s is there", name)
		}
		if p.n > m.limits.RingCapacity {
			t.Fatalf("portal %s holds %d, at most %d are allowed", name, p.n, m.limits.RingCapacity)
		}
		held := m.of(name, 1)
		bytes += portalSize + p.size()
		for i := range p.n {
			e := p.at(i)
			if want := p.first() + uint64(i); e.ord != want {
				t.Fatalf("portal %s: item %d has number %d, want %d", name, i, e.ord, want)
			}
			if n := i - (p.n - len(held)); n >= 0 && string(e.text) != held[n].text {
				t.Fatalf("portal %s: got %s, want %s", name, e.text, held[n].text)
			}
		}
		if p.n < len(held) {
			t.Fatalf("portal %s: got %d items, want %d", name, p.n, len(held))
		}
	}
	if len(a.portals) != len(m.there) {
		t.Fatalf("got %d portals, want %d", len(a.portals), len(m.there))
	}
	if got := int(a.bytes.Load()); got != bytes {
		t.Fatalf("got %d bytes counted, want %d", got, bytes)
	}
	if got := a.work.Load(); got != 0 {
		t.Fatalf("got %d bytes at work", got)
	}
}
