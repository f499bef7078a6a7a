package xrtc_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

const (
	benchRounds = 5
	benchRound  = time.Second
	benchSize   = 256 // bytes of a payload
)

// way is a way from setters to a receiver.
type way interface {
	push(items []string) error
	receive(item func(string)) // until the way is closed
	close()
}

// BenchmarkPortal compares client and server with bare net/http: a POST that is answered, and one
// chunked answer that is flushed for each POST. Both are in this process, and their rounds
// alternate.
func BenchmarkPortal(b *testing.B) {
	for _, test := range []struct {
		name         string
		conns, batch int
		rate         int // items a second; 0: as fast as possible
	}{
		{"paced-1000-per-second", 1, 1, 1000},
		{"16-connections-1-item", 16, 1, 0},
		{"4-connections-20-items", 4, 20, 0},
	} {
		b.Run(test.name, func(b *testing.B) {
			var bare, ours []result
			for range b.N {
				for range benchRounds {
					bare = append(bare, drive(b, newBare(b, test.conns), test.conns, test.batch, test.rate))
					ours = append(ours, drive(b, newOurs(b), test.conns, test.batch, test.rate))
				}
			}
			report := func(name string, f func(result) float64) {
				b.ReportMetric(median(bare, f), "bare-"+name)
				b.ReportMetric(median(ours, f), "ours-"+name)
				ratios := make([]float64, len(bare))
				for i := range bare {
					ratios[i] = f(ours[i]) / f(bare[i])
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[len(ratios)/2], "ratio-"+name)
			}
			if test.rate == 0 {
				report("items/s", func(r result) float64 { return r.rate })
			} else {
				report("p50-µs", func(r result) float64 { return micros(r.p50) })
				report("p99-µs", func(r result) float64 { return micros(r.p99) })
			}
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

var padding = strings.Repeat("x", benchSize)

// number returns the number behind a name.
func number(text, name string) int {
	_, text, _ = strings.Cut(text, name)
	text, _, _ = strings.Cut(text, ",")
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func median(all []result, f func(result) float64) float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = f(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

type result struct {
	rate     float64
	p50, p99 time.Duration
}

// drive pushes for a round, and checks that everything arrives once and in the order of its setter.
func drive(b *testing.B, w way, conns, batch, rate int) result {
	b.Helper()
	defer w.close()
	runtime.GC()
	start := time.Now()
	var latencies []time.Duration
	var received atomic.Int64
	next := make([]int, conns)
	receiving := make(chan struct{})
	go func() {
		defer close(receiving)
		w.receive(func(text string) {
			setter, n, at := number(text, `"src":`), number(text, `"seq":`), number(text, `"ts":`)
			if n != next[setter] {
				b.Errorf("got %s, want number %d", text, next[setter])
			}
			next[setter] = n + 1
			if rate > 0 {
				latencies = append(latencies, time.Since(start)-time.Duration(at))
			}
			received.Add(1)
		})
	}()
	var sent atomic.Int64
	var setters sync.WaitGroup
	for setter := range conns {
		setters.Go(func() {
			n := 0
			timer := time.NewTimer(0)
			<-timer.C
			items := make([]string, batch)
			for i := 0; time.Since(start) < benchRound; i++ {
				if rate > 0 {
					timer.Reset(time.Until(start.Add(time.Duration(i*conns*batch) * time.Second / time.Duration(rate))))
					<-timer.C
				}
				for k := range items {
					text := `{"src":` + strconv.Itoa(setter) + `,"seq":` + strconv.Itoa(n) + `,"ts":` +
						strconv.Itoa(int(time.Since(start))) + `,"pad":"`
					items[k] = text + padding[:benchSize-len(text)-2] + `"}`
					n++
				}
				if err := w.push(items); err != nil {
					b.Error(err)
					return
				}
				sent.Add(int64(batch))
			}
		})
	}
	setters.Wait()
	for late := time.Now().Add(10 * time.Second); received.Load() < sent.Load() && time.Now().Before(late); {
		<-time.After(time.Millisecond)
	}
	took := time.Since(start)
	w.close()
	<-receiving
	if received.Load() != sent.Load() {
		b.Errorf("%d of %d items arrived", received.Load(), sent.Load())
	}
	r := result{rate: float64(received.Load()) / took.Seconds()}
	if slices.Sort(latencies); rate > 0 {
		r.p50, r.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	}
	return r
}

// bare is the way of net/http alone.
type bare struct {
	client *http.Client
	server *httptest.Server
	stream *http.Response
	close1 func()
}

func newBare(b *testing.B, conns int) *bare {
	b.Helper()
	posts := make(chan []byte, 4096)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /push", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
		}
		posts <- body
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		f := http.NewResponseController(w)
		_ = f.Flush()
		for {
			select {
			case body := <-posts:
				_, _ = w.Write(body)
				_ = f.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	w := &bare{
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns + 1,
			DisableCompression: true,
		}},
		server: httptest.NewServer(mux),
	}
	ctx, cancel := context.WithCancel(b.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/stream", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	if w.stream, err = w.client.Do(request); err != nil { //nolint:bodyclose // close does
		b.Fatal(err)
	}
	w.close1 = sync.OnceFunc(func() {
		cancel()
		_ = w.stream.Body.Close()
		w.client.CloseIdleConnections()
		w.server.Close()
	})
	return w
}

func (w *bare) push(items []string) error {
	var body bytes.Buffer
	for _, it := range items {
		body.WriteString(it)
		body.WriteByte('\n')
	}
	resp, err := w.client.Post(w.server.URL+"/push", "application/json", &body)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

func (w *bare) receive(item func(string)) {
	lines := bufio.NewReaderSize(w.stream.Body, 1<<16)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		item(string(line))
	}
}

func (w *bare) close() { w.close1() }

// ours is the way through a portal.
type ours struct {
	server         *xrtctest.Server
	setter, getter *xrtc.Client
	close1         func()
}

func newOurs(b *testing.B) *ours {
	b.Helper()
	l := server.Open()
	l.RingCapacity = 1 << 16 // a receiver that is late by a fifth of a second misses nothing
	s, err := xrtctest.Listen(server.Config{Limits: l})
	if err != nil {
		b.Fatal(err)
	}
	w := &ours{server: s, setter: open(b, s.Config()), getter: open(b, s.Config())}
	w.close1 = sync.OnceFunc(func() {
		_ = w.setter.Close()
		_ = w.getter.Close()
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	return w
}

func (w *ours) push(items []string) error {
	all := make([]xrtc.Item, len(items))
	for i, it := range items {
		all[i] = xrtc.Item{PortalID: "bench", Payload: it}
	}
	_, err := w.setter.Set(context.Background(), all...)
	return err
}

func (w *ours) receive(item func(string)) {
	for items, err := range w.getter.StreamBatches(context.Background(), xrtc.GetRequest{Portals: xrtc.Portals("bench")}) {
		if err != nil {
			return
		}
		for i := range items {
			item(items[i].Payload)
		}
	}
}

func (w *ours) close() { w.close1() }
