package mqtt_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	packets5 "github.com/eclipse/paho.golang/packets"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

const benchPayload = 256

// BenchmarkSource receives from a broker that costs almost nothing, by this connector
// and by paho alone, with and without a buffered connection.
func BenchmarkSource(b *testing.B) {
	for qos := range 2 {
		for _, version := range []string{"3.1.1", "5"} {
			b.Run(fmt.Sprintf("QoS%d/Connector%s", qos, version), func(b *testing.B) {
				env := bridgetest.Env(b, "bench-from")
				env.MaxBatch = bridge.DefaultMaxBatch
				b.SetBytes(benchPayload)
				set := sourceSettings(b, firehose(b, byte(qos), version == "5"), qos, "t")
				s, err := mqtt.Connector().Source.Open(b.Context(), set, env)
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				for n := 0; n < b.N; {
					batch, ack, err := s.Read(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					n += len(batch)
					if err := ack(b.Context(), nil); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				rate(b)
				_ = s.Close()
			})
		}
		for _, buffered := range []bool{false, true} {
			b.Run(fmt.Sprintf("QoS%d/Paho,buffered=%t", qos, buffered), func(b *testing.B) {
				b.SetBytes(benchPayload)
				all, n := make(chan struct{}), 0
				handle := func(paho.Client, paho.Message) {
					if n++; n == b.N {
						close(all)
					}
				}
				c := client(b, firehose(b, byte(qos), false), configure(buffered))
				b.ResetTimer()
				done(b, c.Subscribe("t", byte(qos), handle))
				<-all
				b.StopTimer()
				rate(b)
			})
		}
	}
}

// BenchmarkSink publishes to a broker that costs almost nothing.
func BenchmarkSink(b *testing.B) {
	batch := make(bridge.Batch, bridge.DefaultMaxBatch)
	for i := range batch {
		batch[i] = bridge.Message{Topic: "t", Payload: make([]byte, benchPayload)}
	}
	for qos := range 2 {
		for _, version := range []string{"3.1.1", "5"} {
			b.Run(fmt.Sprintf("QoS%d/Connector%s", qos, version), func(b *testing.B) {
				b.SetBytes(benchPayload)
				s := openSink(b, sinkSettings(b, drain(b, version == "5"), qos))
				b.ResetTimer()
				for n := 0; n < b.N; {
					k, err := s.Write(b.Context(), batch[:min(len(batch), b.N-n)])
					if err != nil {
						b.Fatal(err)
					}
					n += k.Settled
				}
				b.StopTimer()
				rate(b)
			})
		}
		for _, buffered := range []bool{false, true} {
			b.Run(fmt.Sprintf("QoS%d/Paho,buffered=%t", qos, buffered), func(b *testing.B) {
				b.SetBytes(benchPayload)
				c := client(b, drain(b, false), configure(buffered))
				tokens := make([]paho.Token, bridge.DefaultMaxBatch) // as many in flight
				b.ResetTimer()
				for i := range b.N {
					if t := tokens[i%len(tokens)]; t != nil {
						t.Wait()
					}
					tokens[i%len(tokens)] = c.Publish("t", byte(qos), false, batch[0].Payload)
				}
				for _, t := range tokens {
					if t != nil {
						done(b, t)
					}
				}
				b.StopTimer()
				rate(b)
			})
		}
	}
}

func rate(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(0, "ns/op")
}

// firehose is a broker that sends without end; with QoS 1, up to 1,000 messages that are
// not acknowledged.
func firehose(b *testing.B, qos byte, five bool) string {
	b.Helper()
	return speaking(b, five, func(p *peer) {
		size := 0x83 + qos*2
		if five {
			peer5{p}.grant(qos)
			size++
		} else {
			p.grant(qos)
		}
		const run = 200
		var block []byte
		for i := range run {
			block = append(block, 0x30|qos<<1, size, 0x02, 0, 1, 't')
			if qos > 0 {
				block = binary.BigEndian.AppendUint16(block, uint16(i+1))
			}
			if five {
				block = append(block, 0)
			}
			block = append(block, make([]byte, benchPayload)...)
		}
		window := make(chan struct{}, 5)
		if qos > 0 {
			go func() {
				acks := make([]byte, 4*run)
				for {
					if _, err := io.ReadFull(p.r, acks); err != nil {
						close(window)
						return
					}
					window <- struct{}{}
				}
			}()
			for range cap(window) {
				if _, err := p.Write(block); err != nil {
					return
				}
			}
		}
		for {
			if qos > 0 {
				if _, more := <-window; !more {
					return
				}
			}
			if _, err := p.Write(block); err != nil {
				return
			}
		}
	})
}

// speaking starts a broker of that version, which goes on when it has answered CONNECT.
func speaking(b *testing.B, five bool, serve func(p *peer)) string {
	b.Helper()
	if five {
		return standIn5(b, func(p peer5) { p.welcome(packets5.Properties{}); serve(p.peer) })
	}
	return standIn(b, func(p *peer) { p.welcome(); serve(p) })
}

// drain is a broker that takes everything in and acknowledges it at once.
func drain(b *testing.B, five bool) string {
	b.Helper()
	return speaking(b, five, func(p *peer) {
		r := bufio.NewReaderSize(p.r, 1<<18)
		w := bufio.NewWriterSize(p, 1<<16)
		for {
			if r.Buffered() == 0 {
				_ = w.Flush()
			}
			head, err := r.ReadByte()
			if err != nil {
				return
			}
			size, err := binary.ReadUvarint(r)
			if err != nil {
				return
			}
			body, err := r.Peek(int(size))
			if err != nil {
				return
			}
			if head == packets.Publish<<4|2 {
				_, _ = w.Write([]byte{packets.Puback << 4, 2, body[3], body[4]})
			}
			_, _ = r.Discard(int(size))
		}
	})
}

func configure(buffered bool) func(*paho.ClientOptions) {
	return func(o *paho.ClientOptions) {
		if !buffered {
			return
		}
		o.SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
			c, err := net.Dial("tcp", u.Host)
			if err != nil {
				return nil, err
			}
			w := &lazyWriter{Conn: c, r: bufio.NewReaderSize(c, 1<<16), kick: make(chan struct{}, 1)}
			go w.flush()
			return w, nil
		})
	}
}

// lazyWriter buffers what paho reads and writes packet by packet.
type lazyWriter struct {
	net.Conn
	r    *bufio.Reader
	kick chan struct{}

	mu      sync.Mutex // guards the rest
	waiting []byte
	closed  bool
}

func (w *lazyWriter) Read(p []byte) (int, error) { return w.r.Read(p) }

func (w *lazyWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, net.ErrClosed
	}
	w.waiting = append(w.waiting, p...)
	select {
	case w.kick <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *lazyWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.kick)
	}
	return w.Conn.Close()
}

func (w *lazyWriter) flush() {
	var out []byte
	for range w.kick {
		w.mu.Lock()
		out, w.waiting = w.waiting, out[:0]
		w.mu.Unlock()
		if _, err := w.Conn.Write(out); err != nil {
			_ = w.Conn.Close()
			return
		}
	}
}
