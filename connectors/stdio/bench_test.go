package stdio_test

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

// BenchmarkCopy moves lines of 200 bytes from a pipe to a pipe, by the connector without an
// engine, and by the shortest loop that one would write by hand.
func BenchmarkCopy(b *testing.B) {
	b.Run("connector", func(b *testing.B) {
		c := stdio.Connector()
		benchmark(b, func(in io.Reader, out io.Writer) {
			env := bridgetest.Env(b, "bench-from")
			env.Stdin, env.Stdout, env.MaxBatch = in, out, 1024
			from, err := c.Source.Open(b.Context(), c.Source.Settings(), env)
			if err != nil {
				b.Fatal(err)
			}
			to, err := c.Sink.Open(b.Context(), c.Sink.Settings(), env)
			if err != nil {
				b.Fatal(err)
			}
			if n := relay(b, from, to); n != b.N {
				b.Fatalf("%d lines, want %d", n, b.N)
			}
			_, _ = from.Close(), to.Close()
		})
	})
	b.Run("by-hand", func(b *testing.B) {
		benchmark(b, func(in io.Reader, out io.Writer) {
			r, w := bufio.NewReaderSize(in, 1<<16), bufio.NewWriterSize(out, 1<<16)
			for {
				line, err := r.ReadSlice('\n')
				_, _ = w.Write(line)
				if err != nil {
					break
				}
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func benchmark(b *testing.B, move func(io.Reader, io.Writer)) {
	b.Helper()
	line := append(bytes.Repeat([]byte("x"), 199), '\n')
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	inR, inW := pipe(b)
	outR, outW := pipe(b)
	b.ResetTimer()
	go func() {
		defer func() { _ = inW.Close() }()
		many := bytes.Repeat(line, 300)
		for left := b.N; left > 0; left -= 300 {
			_, _ = inW.Write(many[:min(left, 300)*len(line)])
		}
	}()
	read := make(chan int64)
	go func() {
		buf := make([]byte, 1<<16)
		var total int64
		for {
			n, err := outR.Read(buf)
			total += int64(n)
			if err != nil {
				read <- total
				return
			}
		}
	}()
	move(inR, outW)
	_ = outW.Close()
	if got := <-read; got != int64(b.N*len(line)) {
		b.Fatalf("%d bytes came out, want %d", got, b.N*len(line))
	}
}
