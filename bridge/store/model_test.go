package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// TestBufferModel writes, reads, settles and reopens in any order, and compares the buffer with two numbers.
func TestBufferModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	name := 0
	rapid.Check(t, func(r *rapid.T) {
		name++
		e := &ends{buffer: s.Buffer(fmt.Sprint("p", name), bridge.BufferSettings{MaxBytes: 8 << 20})}
		e.reopen(t)
		type unsettled struct {
			end int
			ack bridge.Ack
		}
		written, read, settled := 0, 0, 0 // numbers of messages
		var pending []unsettled
		read1 := func(r *rapid.T) {
			batch, ack, err := e.source.Read(t.Context())
			if err != nil || len(batch) == 0 {
				r.Fatalf("read: %d messages, %v", len(batch), err)
			}
			for _, m := range batch {
				read++
				if want := fmt.Sprintf("%0*d", 30, read); string(m.Payload) != want {
					r.Fatalf("read %s, want %s", m.Payload, want)
				}
			}
			pending = append(pending, unsettled{read, ack})
		}
		again := func() {
			read, pending = settled, nil
			e.reopen(t)
		}
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) {
				n := rapid.IntRange(1, 300).Draw(r, "n")
				e.write(t, numbered(written+1, written+n, 30)...)
				written += n
			},
			"read": func(r *rapid.T) {
				if read == written {
					r.Skip("nothing is there")
				}
				read1(r)
			},
			"settle": func(r *rapid.T) {
				if len(pending) == 0 {
					r.Skip("nothing is open")
				}
				if err := pending[0].ack(t.Context(), nil); err != nil {
					r.Fatal(err)
				}
				settled, pending = pending[0].end, pending[1:]
			},
			"refuse": func(r *rapid.T) {
				if len(pending) == 0 {
					r.Skip("nothing is open")
				}
				if err := pending[0].ack(t.Context(), bridge.Permanent(fmt.Errorf("no"))); err != nil {
					r.Fatal(err)
				}
				again() // as an engine does
			},
			"reopen": func(*rapid.T) { again() },
			"restart": func(r *rapid.T) {
				if rapid.IntRange(0, 9).Draw(r, "seldom") > 0 {
					r.Skip("this takes long")
				}
				e.close()
				shut(t, s)
				s = open(t, dir)
				e.buffer = s.Buffer(fmt.Sprint("p", name), bridge.BufferSettings{MaxBytes: 8 << 20})
				e.sink = nil
				again()
			},
			"": func(r *rapid.T) {
				if held := int(e.held()); held != written-settled {
					r.Fatalf("holds %d, want %d", held, written-settled)
				}
			},
		})
		for read < written {
			read1(r)
		}
		e.close()
	})
}

// TestCheckpointModel saves, loads and reopens in any order: the newest one is what is loaded.
func TestCheckpointModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	name := 0
	rapid.Check(t, func(r *rapid.T) {
		name++
		model := make(map[string]string)
		instance := rapid.SampledFrom([]string{"p-from", "p-from.2", "p-from.3"})
		r.Repeat(map[string]func(*rapid.T){
			"save": func(r *rapid.T) {
				i := instance.Draw(r, "instance")
				data := make([]byte, rapid.IntRange(0, 5000).Draw(r, "size"))
				for k := range data {
					data[k] = byte(rand.IntN(256)) //nolint:gosec // no secret
				}
				if err := s.Checkpoint(fmt.Sprint("p", name), i).Save(t.Context(), data); err != nil {
					r.Fatal(err)
				}
				model[i] = string(data)
			},
			"load": func(r *rapid.T) {
				i := instance.Draw(r, "instance")
				data, err := s.Checkpoint(fmt.Sprint("p", name), i).Load(t.Context())
				if err != nil || string(data) != model[i] {
					r.Fatalf("loaded %d bytes, %v; want %d", len(data), err, len(model[i]))
				}
			},
			"restart": func(r *rapid.T) {
				if rapid.IntRange(0, 9).Draw(r, "seldom") > 0 {
					r.Skip("this takes long")
				}
				shut(t, s)
				s = open(t, dir)
			},
		})
	})
}
