package xrtc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/connectors/discard"
	"github.com/xrtcbridge/xrtcbridge/connectors/generate"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func load(text string) (*config.Config, error) {
	l := config.Loader{Registry: bridge.NewRegistry(xrtc.Connector(), discard.Connector(), generate.Connector())}
	return l.Parse("example.yaml", []byte(text))
}

func TestExampleLoads(t *testing.T) {
	c := xrtc.Connector()
	if _, err := load(c.Example); err != nil {
		t.Fatal(err)
	}
	for _, settings := range []any{c.Source.Settings(), c.Sink.Settings()} {
		for _, k := range config.Keys(settings) {
			name := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
			if !strings.Contains(c.Example, name+":") {
				t.Errorf("the example does not show %s", k.Name)
			}
		}
	}
	// The lines in comments must be right too.
	tls := strings.NewReplacer("# tls:", "tls:", "#   ", "  ").Replace(c.Example)
	if _, err := load(tls); err == nil || !strings.Contains(err.Error(), "ca: stat /etc/xrtcbridge/ca.pem") {
		t.Errorf("with the tls keys: %v, want that the file is missing", err)
	}
	if want := bridge.PortalID("sensors/0/temp"); !strings.Contains(c.Example, want) {
		t.Errorf("the example reads no portal that it writes: %s", want)
	}
}

func TestMistakesAreFoundByCheck(t *testing.T) {
	for text, want := range map[string]string{
		`from: {xrtc: {}}, to: {discard: {}}`:                                                        "portals",
		`from: {xrtc: {portals: []}}, to: {discard: {}}`:                                             "portals",
		`from: {xrtc: {portals: [a-b]}}, to: {discard: {}}`:                                          "letters and digits",
		`from: {xrtc: {portals: a, mode: push}}, to: {discard: {}}`:                                  "mode",
		`from: {xrtc: {portals: a, schedule: fifo}}, to: {discard: {}}`:                              "schedule",
		`from: {xrtc: {portals: a, interval: 0s}}, to: {discard: {}}`:                                "interval",
		`from: {xrtc: {portals: a, buffer: 1kB}}, to: {discard: {}}`:                                 "buffer",
		`from: {xrtc: {portals: a, decode: rot13}}, to: {discard: {}}`:                               "decode",
		`from: {xrtc: {portals: a, url: "mqtt://h"}}, to: {discard: {}}`:                             "http",
		`from: {xrtc: {portals: a, url: "https://u:secret@h"}}, to: {discard: {}}`:                   "base URL",
		`from: {xrtc: {portals: a, account_id: AC1}}, to: {discard: {}}`:                             "go together",
		`from: {generate: {}}, to: {xrtc: {}}`:                                                       "portal",
		`from: {generate: {}}, to: {xrtc: {portal: sensors/a}}`:                                      "portalid(topic)",
		`from: {generate: {}}, to: {xrtc: {portal: a, overflow: wait}}`:                              "overflow",
		`from: {generate: {}}, to: {xrtc: {portal: a, parallel: 0}}`:                                 "parallel",
		`from: {generate: {}}, to: {xrtc: {portal: a, rate: -1}}`:                                    "rate",
		`from: {generate: {}}, to: {xrtc: {portal: a, max_request: 64}}`:                             "max_request",
		`from: {generate: {}}, to: {xrtc: {portal: a, max_request: 1MB}}`:                            "max_request",
		`from: {generate: {}}, to: {xrtc: {portal: a, max_portals: -1}}`:                             "max_portals",
		`from: {generate: {}}, to: {xrtc: {portal: a, tls: {cert: x}}}`:                              "cert and key",
		`from: {generate: {}}, to: {xrtc: {portal: a, tls: {ca: not-there.pem}}}`:                    "not-there.pem",
		`from: {generate: {}}, to: {xrtc: {portal: a, env_file: not-there.env}}`:                     "not-there.env",
		`from: {generate: {}}, to: {xrtc: {portal: a, api_key: secret, account_id: "", envelop: 1}}`: "envelope",
	} {
		_, err := load("pipelines: {a: {" + text + "}}")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\ngot %v, want an error with %s", text, err, want)
		}
	}
}

// front is a portal server behind a handler that may meddle.
type front struct{ *xrtctest.Server }

func startFront(t *testing.T, c server.Config, before func(w http.ResponseWriter, r *http.Request) bool) *front {
	f := &front{Server: xrtctest.Start(t, c)}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			f.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(web.Close)
	f.Addr = strings.TrimPrefix(web.URL, "http://")
	return f
}

// Many messages, for several portals, share a request; each portal keeps its order.
func TestPacks(t *testing.T) {
	var sets atomic.Int32
	f := startFront(t, server.Config{}, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/item/set" {
			sets.Add(1)
		}
		return false
	})
	sink := openSink(t, sinkSettings(t, f.Server, topicPortal{}), bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(1000)
	for i := range batch {
		batch[i].Topic = fmt.Sprintf("p%d", i%7)
	}
	write(t, sink, batch)
	if n := sets.Load(); n > 2 {
		t.Errorf("%d requests, want at most 2 of 64 KiB", n)
	}
	for k := range 7 {
		items, err := f.Client(t).Get(t.Context(),
			sdk.GetRequest{Portals: sdk.Portals(fmt.Sprintf("p%d", k)), Schedule: sdk.FIFO})
		if err != nil {
			t.Fatal(err)
		}
		for i, it := range items {
			if want := fmt.Sprintf(`{"n":%d}`, i*7+k); it.Payload != want {
				t.Fatalf("portal p%d, item %d: %s, want %s", k, i, it.Payload, want)
			}
		}
	}
}

// Requests are on their way at the same time, each for other portals.
func TestRequestsInParallelKeepOrder(t *testing.T) {
	var now, most atomic.Int32
	f := startFront(t, server.Config{Limits: limits(
		func(l *server.Limits) { l.PayloadSizeMax, l.RingCapacity = 512, 5000 })},
		func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/item/set" {
				return false
			}
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-time.After(2 * time.Millisecond)
			now.Add(-1)
			return false
		})
	sink := openSink(t, sinkSettings(t, f.Server, topicPortal{}), bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(1000)
	for i := range batch {
		batch[i].Topic = fmt.Sprintf("p%d", i%7)
	}
	write(t, sink, batch)
	if n := most.Load(); n < 2 || n > 4 {
		t.Errorf("%d requests at a time, want 2 to 4", n)
	}
	next := make(map[string]int)
	c := f.Client(t)
	for total := 0; total < len(batch); {
		items, err := c.Get(t.Context(),
			sdk.GetRequest{Portals: sdk.Portals("p0", "p1", "p2", "p3", "p4", "p5", "p6"), Schedule: sdk.FIFO})
		if err != nil || len(items) == 0 {
			t.Fatalf("%d items of %d: %v", total, len(batch), err)
		}
		for _, it := range items {
			k := int(it.PortalID[1] - '0')
			if want := fmt.Sprintf(`{"n":%d}`, next[it.PortalID]*7+k); it.Payload != want {
				t.Fatalf("portal %s: %s, want %s", it.PortalID, it.Payload, want)
			}
			next[it.PortalID]++
		}
		total += len(items)
	}
}

func limits(change func(*server.Limits)) server.Limits {
	l := server.Open()
	change(&l)
	return l
}

func TestWhatCanNeverBeDelivered(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(
		func(l *server.Limits) { l.PayloadSizeMax, l.PortalsCountMax = 256, 2 })})
	for _, c := range []struct {
		name    string
		set     func(*xrtc.SinkSettings)
		message bridge.Message
		want    string
	}{
		{
			"TooLarge", nil,
			bridge.Message{Topic: "a", Payload: make([]byte, 300)},
			"a payload of 300 bytes makes a request of ",
		},
		{
			"TooLargeNamesTheLimit", nil,
			bridge.Message{Topic: "a", Payload: []byte(strings.Repeat("x", 300))},
			"256 are the most (PAYLOAD_SIZE_MAX, which the server announced)",
		},
		{
			"MaxRequest", func(s *xrtc.SinkSettings) { s.MaxRequest = 200 },
			bridge.Message{Topic: "a", Payload: []byte(strings.Repeat("x", 200))},
			"200 are the most (max_request)",
		},
		{
			"NotUTF8", func(s *xrtc.SinkSettings) { s.Encode = "text" },
			bridge.Message{Topic: "a", Payload: []byte{0xff}},
			"not UTF-8",
		},
		{
			"NoPortalID", func(s *xrtc.SinkSettings) { s.Portal = plainTopic{} },
			bridge.Message{Topic: "a/b"},
			"portalid(topic)",
		},
		{"OnePortalTooMany", nil, bridge.Message{Topic: "third"}, "portal third would be one more than the 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := sinkSettings(t, s, topicPortal{})
			if c.set != nil {
				c.set(set)
			}
			sink := openSink(t, set, bridgetest.Env(t, "to"))
			batch := bridge.Batch{
				{Topic: "one", Payload: []byte("1")},
				{Topic: "two", Payload: []byte("2")},
				c.message,
				{Topic: "one", Payload: []byte("3")},
			}
			r, err := sink.Write(t.Context(), batch)
			if r.Settled != 4 || err != nil || len(r.Refused) != 1 || r.Refused[0].Index != 2 ||
				!strings.Contains(r.Refused.Error(), c.want) {
				t.Errorf("%+v, %v, want message 2 alone refused for %q", r, err, c.want)
			}
		})
	}
}

// plainTopic is the template {{ topic }}.
type plainTopic struct{}

func (plainTopic) Render(m *bridge.Message) (string, error) { return m.Topic, nil }
func (plainTopic) Constant() (string, bool)                 { return "", false }
func (plainTopic) Prefix(topic string) string               { return topic }

// With conflate or drop, a portal too many is no failure.
func TestMorePortalsThanAllowed(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.PortalsCountMax = 2 })})
	set := sinkSettings(t, s, topicPortal{})
	set.Overflow = "conflate"
	sink := openSink(t, set, bridgetest.Env(t, "to"))
	batch := bridge.Batch{{Topic: "one"}, {Topic: "two"}, {Topic: "three"}}
	if r, err := sink.Write(t.Context(), batch); r.Settled != 3 || len(r.Refused) > 0 || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// A server that takes less than it is known to take gets smaller requests.
func TestServerThatTakesLess(t *testing.T) {
	var f *front
	f = startFront(t, server.Config{Limits: limits(func(l *server.Limits) { l.PayloadSizeMax = 300 })},
		func(w http.ResponseWriter, r *http.Request) bool {
			f.ServeHTTP(silent{w}, r)
			return true
		})
	for _, maxRequest := range []bridge.Size{0, 4096} {
		sink := openSink(t, withRequest(sinkSettings(t, f.Server, topicPortal{}), maxRequest), bridgetest.Env(t, "to"))
		batch := bridgetest.Numbered(100)
		write(t, sink, batch)
	}
}

func withRequest(s *xrtc.SinkSettings, size bridge.Size) *xrtc.SinkSettings {
	s.MaxRequest, s.Rate = size, 1e6
	return s
}

// silent is the answer of a server that announces no limits, as the public one does not.
type silent struct{ http.ResponseWriter }

func (w silent) WriteHeader(status int) {
	w.Header().Del("Xrtc-Limits")
	w.ResponseWriter.WriteHeader(status)
}

func (w silent) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// max_request above what the server announces changes nothing.
func TestMaxRequestBeyondTheServer(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.PayloadSizeMax = 300 })})
	sink := openSink(t, withRequest(sinkSettings(t, s, topicPortal{}), 4096), bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(100)
	write(t, sink, batch)
}

// The server dislikes some messages that the sink did not know to be bad: just these are refused,
// in requests of any number of messages.
func TestServerRefusesSomeOfARequest(t *testing.T) {
	f := startFront(t, server.Config{}, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/item/set" {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte("bad")) {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"errorgroup":30,"errorcode":30,"errormessage":"bad"}}`))
		return true
	})
	sink := openSink(t, sinkSettings(t, f.Server, topicPortal{}), bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(100)
	bad := []int{0, 1, 50, 99}
	for _, i := range bad {
		batch[i].Payload = []byte("bad")
	}
	r, err := sink.Write(t.Context(), batch)
	var refused []int
	for _, one := range r.Refused {
		refused = append(refused, one.Index)
	}
	if r.Settled != len(batch) || !slices.Equal(refused, bad) || err != nil {
		t.Errorf("%+v, %v, want just %v refused", r, err, bad)
	}
	items, err := f.Client(t).Get(t.Context(), sdk.GetRequest{
		Portals:  sdk.Portals(bridge.PortalID(bridgetest.Topic)),
		Schedule: sdk.FIFO,
	})
	if err != nil || len(items) != len(batch)-len(bad) {
		t.Errorf("%d items arrived, %v, want %d", len(items), err, len(batch)-len(bad))
	}
}

// A server that calls some messages unreadable says nothing about the size of requests: afterwards
// large messages are taken, and requests are as large as before.
func TestSizeIsUnlearned(t *testing.T) {
	var sets atomic.Int32
	var grumpy atomic.Bool // refuses all that is large, for a while
	f := startFront(t, server.Config{}, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/item/set" {
			return false
		}
		sets.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte("bad")) && (!grumpy.Load() || len(body) < 1000) {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"errorgroup":6,"errorcode":20,"errormessage":"no"}}`))
		return true
	})
	sink := openSink(t, sinkSettings(t, f.Server, topicPortal{}), bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(100)
	batch[7].Payload = []byte("bad")
	if r, err := sink.Write(t.Context(), batch); r.Settled != 100 || len(r.Refused) != 1 || r.Refused[0].Index != 7 ||
		err != nil {
		t.Errorf("%+v, %v, want message 7 refused", r, err)
	}
	write(t, sink, bridge.Batch{{Topic: "a", Payload: []byte(strings.Repeat("x", 50_000))}})
	one := func(n int) int32 {
		before := sets.Load()
		write(t, sink, bridgetest.Numbered(n))
		return sets.Load() - before
	}
	if n := one(500); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	grumpy.Store(true)
	one(500)
	grumpy.Store(false)
	bridgetest.Eventually(t, "requests are as large as before", func() bool { return one(500) == 1 })
}

// What cannot be decoded is refused with the payload as it is, and the others are handed on.
func TestSourceRefusesWhatItCannotDecode(t *testing.T) {
	s := xrtctest.Start(t, server.Config{})
	texts := []string{"a", "data:;base64,#", "data:;base64,Yg=="}
	for _, text := range texts {
		if _, err := s.Client(t).Set(t.Context(), sdk.Item{PortalID: portal, Payload: text}); err != nil {
			t.Fatal(err)
		}
	}
	source, err := xrtc.Connector().Source.Open(t.Context(), sourceSettings(t, s, portal), bridgetest.Env(t, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var got []string
	for len(got) < len(texts) {
		batch, ack, err := source.Read(t.Context())
		refused, _ := err.(bridge.Refusals)
		if err != nil && refused == nil {
			t.Fatal(err)
		}
		for i, m := range batch {
			text := string(m.Payload)
			if slices.ContainsFunc(refused, func(r bridge.Refusal) bool { return r.Index == i }) {
				text = "refused " + text
			}
			got = append(got, text)
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"a", "refused data:;base64,#", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDropCounts(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: server.Public()})
	set := sinkSettings(t, s, bridge.Text("a"))
	set.Overflow = "drop"
	set.Portal = plainTopic{}
	sink := openSink(t, set, bridgetest.Env(t, "to"))
	batch := bridgetest.Numbered(10_000) // for more requests than may go while a busy machine makes them
	for i := range batch {
		batch[i].Topic = "a"
	}
	batch[0].Topic, batch[len(batch)-1].Topic = "not/one", "not/one"
	r, err := sink.Write(t.Context(), batch)
	if r.Settled != len(batch) || len(r.Refused) != 2 || err != nil {
		t.Fatalf("wrote %+v, %v, want all settled and 2 refused", r, err)
	}
	dropped := len(r.Omitted)
	items, err := s.Client(t).Get(t.Context(), sdk.GetRequest{Portals: sdk.Portals("a"), Schedule: sdk.FIFO})
	if err != nil {
		t.Fatal(err)
	}
	if dropped == 0 || len(items) == 0 || len(items)+dropped > len(batch)-2 || r.Omitted[0] <= len(items) ||
		!slices.IsSorted(r.Omitted) {
		t.Errorf("%d dropped, %d arrived, of %d", dropped, len(items), len(batch))
	}
	if items[0].Payload != `{"n":1}` {
		t.Errorf("the first is %s: what comes first goes first", items[0].Payload)
	}
}

// Two sinks with one key share its rate.
func TestInstancesShareTheRateOfAKey(t *testing.T) {
	var refused atomic.Int32
	f := startFront(t, server.Config{Limits: limits(func(l *server.Limits) { l.RequestsPerSecond = 40 })}, nil)
	counted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &statusWriter{ResponseWriter: w}
		f.ServeHTTP(c, r)
		if c.status >= 400 {
			refused.Add(1)
		}
	}))
	defer counted.Close()
	f.Addr = strings.TrimPrefix(counted.URL, "http://")
	connector := xrtc.Connector()
	var writing sync.WaitGroup
	for i := range 3 {
		set := sinkSettings(t, f.Server, bridge.Text(fmt.Sprintf("p%d", i)))
		sink, err := connector.Sink.Open(t.Context(), set, bridgetest.Env(t, fmt.Sprint("to", i)))
		if err != nil {
			t.Fatal(err)
		}
		writing.Go(func() {
			defer sink.Close()
			for k := range 30 {
				if r, err := sink.Write(t.Context(), bridge.Batch{{Payload: fmt.Append(nil, k)}}); r.Settled != 1 || err != nil {
					t.Errorf("wrote %d: %v", r.Settled, err)
				}
			}
		})
	}
	writing.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d requests were refused", n)
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// A reader that is slower than the ring knows how much it has missed.
func TestGapIsCounted(t *testing.T) {
	const written, ring = 1000, 10
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.RingCapacity = ring })})
	source, dropped := gapSource(t, s)
	writer := s.Client(t)
	set := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := writer.Set(t.Context(), sdk.Item{PortalID: portal, Payload: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(0, 1)
	got := len(read(t, source))
	var items []sdk.Item
	for i := range written {
		items = append(items, sdk.Item{PortalID: portal, Payload: fmt.Sprint("x", i)})
	}
	if _, err := writer.Set(t.Context(), items...); err != nil {
		t.Fatal(err)
	}
	set(0, 1)
	for int64(got)+dropped.Load() < written+2 {
		got += len(read(t, source))
	}
	if want := int64(written+2) - int64(got); dropped.Load() != want || want < written-ring {
		t.Errorf("%d dropped and %d read, of %d", dropped.Load(), got, written+2)
	}
}

func gapSource(t *testing.T, s *xrtctest.Server) (bridge.Source, *atomic.Int64) {
	t.Helper()
	env, dropped := bridgetest.Env(t, "from"), new(atomic.Int64)
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	source, err := xrtc.Connector().Source.Open(t.Context(), sourceSettings(t, s, portal), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return source, dropped
}

func TestWrongCredentialsArePermanent(t *testing.T) {
	s := xrtctest.Start(t, server.Config{})
	set := sourceSettings(t, s, portal)
	set.APIKey = bridge.NewSecret("wrongwrongwrongwrongwrongwrong32")
	_, err := xrtc.Connector().Source.Open(t.Context(), set, bridgetest.Env(t, "from"))
	if !bridge.IsPermanent(err) || strings.Contains(err.Error(), "wrongwrong") ||
		strings.Contains(err.Error(), xrtctest.AccountID) ||
		!strings.Contains(err.Error(), "check account_id and api_key") {
		t.Errorf("got %v, want a permanent error without the credentials", err)
	}
	set.AccountID, set.APIKey = bridge.Secret{}, bridge.Secret{}
	t.Setenv("ACCOUNT_ID", "")
	t.Setenv("API_KEY", "")
	t.Chdir(t.TempDir())
	if _, err = xrtc.Connector().Source.Open(t.Context(), set,
		bridgetest.Env(t, "from")); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "ACCOUNT_ID") {
		t.Errorf("got %v, want a permanent error that names ACCOUNT_ID", err)
	}
}

// A pipeline from portal to portal goes on, losing and doubling nothing, while the server forgets
// the session and hangs up again and again (F23).
func TestF23SessionsAndConnectionsBreak(t *testing.T) {
	const n = 3000
	var sets, gets, cut atomic.Int32
	var s *front
	s = startFront(t, server.Config{Limits: limits(func(l *server.Limits) {
		l.RingCapacity, l.SessionIdle, l.GetItemTimeout = n, 50*time.Millisecond, 300*time.Millisecond
	})}, func(w http.ResponseWriter, r *http.Request) bool {
		calls := &gets // each counts by itself, else a sink that asks before it sets may meet every break
		switch r.URL.Path {
		case "/v1/auth/login":
			return false
		case "/v1/item/set":
			calls = &sets
		}
		k := calls.Add(1)
		switch {
		case k%7 == 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			cut.Add(1)
			return true
		case k%11 == 0 && calls == &gets:
			// The items of this answer are lost with the connection.
			s.ServeHTTP(&shortWriter{ResponseWriter: w, left: 2000}, r)
			cut.Add(1)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	out := new(bridgetest.Downstream)
	up := new(bridgetest.Upstream)
	connector := xrtc.Connector()
	to := sinkSettings(t, s.Server, bridge.Text("a"))
	from := sourceSettings(t, s.Server, "a")
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range []*engine.Pipeline{
		{
			Name: "in", From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, MaxBatch: 50,
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "xrtc",
				Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
					return connector.Sink.Open(ctx, to, env)
				},
			}),
		},
		{
			Name: "out", To: engine.To(out.Endpoint()),
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "xrtc",
				Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
					return connector.Source.Open(ctx, from, env)
				},
			}},
		},
	} {
		running.Go(func() {
			if err := p.Run(ctx, bridge.Env{Logger: slog.New(
				slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}, nil); err != nil {
				t.Error(err)
			}
			if !p.Ledger().Balanced() {
				t.Errorf("%s: ledger %+v", p.Name, p.Ledger())
			}
		})
	}
	want := bridgetest.Numbered(n)
	for part := range slices.Chunk(want, 200) {
		up.Send(part...)
		<-time.After(60 * time.Millisecond) // longer than a session lives unused
	}
	bridgetest.Reach(t, "messages have arrived", n, func() int { return distinct(out.Got()) })
	stop()
	running.Wait()
	t.Logf("%d calls, %d broken, %d arrivals of %d", sets.Load()+gets.Load(), cut.Load(), len(out.Got()), n)
	if cut.Load() < 10 {
		t.Errorf("only %d calls were broken", cut.Load())
	}
	last := -1
	for _, m := range out.Got() {
		var k int
		if _, err := fmt.Sscanf(string(m.Payload), `{"n":%d}`, &k); err != nil {
			t.Fatal(err)
		}
		if k > last+1 {
			t.Fatalf("number %d came before %d", k, last+1)
		}
		last = max(last, k)
	}
}

func distinct(ms []bridge.Message) int {
	seen := make(map[string]bool)
	for _, m := range ms {
		seen[string(m.Payload)] = true
	}
	return len(seen)
}

// shortWriter passes on only so many bytes.
type shortWriter struct {
	http.ResponseWriter
	left int
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if _, err := w.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *shortWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
