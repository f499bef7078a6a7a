package connectors_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/connectors"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

const (
	relayAccount = "AC0987654321012345"
	relayKey     = "abcdefghijklmnopqrstuvwxyz012345"
	readerKey    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	relayPortals = 10
)

// relay is an MQTT broker, a portal server with the limits of the public service, and a pipeline between them.
type relay struct {
	pipeline *engine.Pipeline
	mqtt     paho.Client
	url      string
	requests atomic.Int64
	refused  atomic.Int64 // answers of 400 and above
	last     atomic.Int64 // when the last set was answered
	stop     func()
}

func newRelay(tb testing.TB, overflow string) *relay {
	tb.Helper()
	r := new(relay)
	keys := make([]server.Key, 2)
	for i, text := range []string{relayKey, readerKey} {
		var err error
		if keys[i], err = server.ParseKey(text); err != nil {
			tb.Fatal(err)
		}
	}
	portals, err := server.New(server.Config{
		Limits:   server.Public(),
		Accounts: []server.Account{{ID: relayAccount, Keys: keys}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		c := &coded{ResponseWriter: w}
		portals.ServeHTTP(c, q)
		if c.code >= 400 {
			r.refused.Add(1)
		}
		if q.URL.Path == "/v1/item/set" {
			r.requests.Add(1)
			r.last.Store(time.Now().UnixNano())
		}
	}))
	r.url = web.URL
	broker, err := embedded.Start(tb.Context(), embedded.Settings{
		MQTT: &embedded.MQTT{Listen: "127.0.0.1:0", Open: true}, NATS: &embedded.NATS{Durability: "process"},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	text := fmt.Sprintf(`pipelines: {relay: {from: {mqtt: {url: "%s", topics: ["in/#"], qos: 1, client_id: relay}},
		to: {xrtc: {url: "%s", account_id: %s, api_key: %s, portal: "{{ portalid(segment(topic, 1)) }}", overflow: %s}}}}`,
		broker.MQTTURL(), r.url, relayAccount, relayKey, overflow)
	c, err := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}.Parse("relay", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	r.pipeline = c.Pipelines[0]
	running, stop := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	var opened atomic.Int32 // again after a failure
	log := slog.New(watch{slog.NewTextHandler(tb.Output(), nil), func() { opened.Add(1) }})
	go func() { done <- r.pipeline.Run(running, bridge.Env{Logger: log}, nil) }()
	bridgetest.Eventually(tb, "both ends are open", func() bool { return opened.Load() >= 2 })
	r.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	r.mqtt = paho.NewClient(
		paho.NewClientOptions().AddBroker(strings.Replace(broker.MQTTURL(), "mqtt", "tcp", 1)).SetClientID("sensors"))
	if t := r.mqtt.Connect(); t.Wait() && t.Error() != nil {
		tb.Fatal(t.Error())
	}
	tb.Cleanup(func() {
		r.mqtt.Disconnect(100)
		r.stop()
		web.Close()
		_ = portals.Close()
		if err := broker.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// coded notes the status of an answer.
type coded struct {
	http.ResponseWriter
	code int
}

func (c *coded) WriteHeader(code int) { c.code = code; c.ResponseWriter.WriteHeader(code) }
func (c *coded) Unwrap() http.ResponseWriter {
	return c.ResponseWriter
}

// watch calls f when something was opened.
type watch struct {
	slog.Handler
	f func()
}

func (w watch) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "opened" {
		w.f()
	}
	return w.Handler.Handle(ctx, r)
}

func (w watch) WithAttrs(a []slog.Attr) slog.Handler { return watch{w.Handler.WithAttrs(a), w.f} }

// publish publishes n numbered messages at QoS 1, for the portals in turn, each padded to size, and returns when they
// were published. Pace is how many a second; 0 is as fast as the broker takes them.
func (r *relay) publish(tb testing.TB, n, size, pace int) []time.Time {
	tb.Helper()
	at, tokens := make([]time.Time, n), make([]paho.Token, n)
	began := time.Now()
	for i := range n {
		if pace > 0 {
			<-time.After(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(pace))))
		}
		at[i] = time.Now()
		tokens[i] = r.mqtt.Publish(fmt.Sprintf("in/p%d/x", i%relayPortals), 1, false, fmt.Sprintf("%0*d", size, i))
		if i >= 1000 {
			tokens[i-1000].Wait()
		}
	}
	for _, t := range tokens {
		if t.Wait() && t.Error() != nil {
			tb.Error(t.Error())
		}
	}
	return at
}

// arrivals streams all portals until done says so of an item's number, or ctx ends.
func (r *relay) arrivals(tb testing.TB, item func(portal string, n int)) (stop func()) {
	tb.Helper()
	c, err := xrtc.Open(tb.Context(),
		xrtc.Config{BaseURL: r.url, AccountID: relayAccount, APIKey: readerKey, Environ: []string{}})
	if err != nil {
		tb.Fatal(err)
	}
	var ids []string
	for i := range relayPortals {
		ids = append(ids, fmt.Sprintf("p%d", i))
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var streaming sync.WaitGroup
	streaming.Go(func() {
		var cursor xrtc.Cursor
		for it, err := range c.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals(ids...)}) {
			if err != nil {
				tb.Error(err)
				return
			}
			if missed := cursor.Add(&it); missed > 0 {
				tb.Errorf("%d items were missed", missed)
			}
			n, err := strconv.Atoi(it.Payload)
			if err != nil {
				tb.Error(err)
			}
			item(it.PortalID, n)
		}
	})
	return func() { cancel(); streaming.Wait(); _ = c.Close() }
}

// 10,000 messages under the limits of the public service: all arrive once, in order for each portal, and the
// server never has to refuse anything.
func TestRelayUnderPublicLimits(t *testing.T) {
	const n = 10_000
	r := newRelay(t, "block")
	var got [relayPortals]atomic.Int64
	var all atomic.Int64
	stop := r.arrivals(t, func(portal string, i int) {
		k := i % relayPortals
		want := got[k].Add(1) - 1
		if portal != fmt.Sprintf("p%d", k) || int64(i/relayPortals) != want {
			t.Errorf("portal %s got number %d, want %d", portal, i, want*relayPortals+int64(k))
		}
		all.Add(1)
	})
	defer stop()
	began := time.Now()
	r.publish(t, n, 1, 0)
	bridgetest.Reach(t, "items arrive", n, func() int { return int(all.Load()) })
	t.Logf("%d items in %d requests, %v", n, r.requests.Load(), time.Since(began))
	r.stop()
	if refused := r.refused.Load(); refused > 0 {
		t.Errorf("%d requests were refused", refused)
	}
	if l := r.pipeline.Ledger(); !l.Balanced() || l.Delivered != n || l.Dropped != 0 {
		t.Errorf("ledger %+v", l)
	}
}

// The newest message of each portal arrives, and what was left out is counted.
func TestRelayConflates(t *testing.T) {
	const n = 10_000
	r := newRelay(t, "conflate")
	var mu sync.Mutex
	newest, arrived := make(map[string]int), make(map[string]time.Time)
	var delivered atomic.Uint64
	stop := r.arrivals(t, func(portal string, i int) {
		delivered.Add(1)
		mu.Lock()
		defer mu.Unlock()
		if i <= newest[portal] && i > 0 {
			t.Errorf("portal %s got %d behind %d", portal, i, newest[portal])
		}
		newest[portal], arrived[portal] = i, time.Now()
	})
	defer stop()
	at := r.publish(t, n, 256, 3000) // of which a request takes three, so that they come too fast however slow this is
	bridgetest.Eventually(t, "the newest of each portal arrives", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for k := range relayPortals {
			if newest[fmt.Sprintf("p%d", k)] != n-relayPortals+k {
				return false
			}
		}
		return true
	})
	latest := time.Duration(0)
	for k := range relayPortals {
		latest = max(latest, arrived[fmt.Sprintf("p%d", k)].Sub(at[n-relayPortals+k]))
	}
	r.stop()
	l := r.pipeline.Ledger()
	t.Logf("the newest arrived within %v; %d delivered, %d dropped, %d requests", latest, l.Delivered, l.Dropped,
		r.requests.Load())
	if !l.Balanced() || l.Received != n || l.Delivered+l.Dropped != n || l.Dropped == 0 ||
		l.Delivered != delivered.Load() {
		t.Errorf("ledger %+v, and %d arrived", l, delivered.Load())
	}
	if refused := r.refused.Load(); refused > 0 {
		t.Errorf("%d requests were refused", refused)
	}
}

// BenchmarkRelayPublic compares the rate of a relay under the limits of the public service with the
// best that they allow: 20 full requests a second.
func BenchmarkRelayPublic(b *testing.B) {
	for _, size := range []int{8, 64, 256} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			item := len(`{"portalid":"p1","payload":""},`) + size
			best := float64((server.Public().PayloadSizeMax-len(`{"items":[]}`)+1)/item) * xrtc.RequestsPerSecond
			n := int(best) * 10
			for b.Loop() {
				r := newRelay(b, "block")
				began := time.Now()
				r.publish(b, n, size, 0)
				bridgetest.Eventually(b, "all is delivered", func() bool { return r.pipeline.Ledger().Delivered == uint64(n) })
				rate := float64(n) / time.Unix(0, r.last.Load()).Sub(began).Seconds()
				b.ReportMetric(rate, "items/s")
				b.ReportMetric(best, "best-items/s")
				b.ReportMetric(rate/best, "ratio")
				if r.refused.Load() > 0 {
					b.Errorf("%d requests were refused", r.refused.Load())
				}
				r.stop()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
