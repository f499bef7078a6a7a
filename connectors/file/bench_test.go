package file_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// BenchmarkCopy moves lines of 200 bytes from file to file, by the connector without an
// engine and without fsync, and by the shortest loop that one would write by hand.
func BenchmarkCopy(b *testing.B) {
	for name, move := range map[string]func(*testing.B, string, string){"connector": relay, "by-hand": byHand} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			line := append(bytes.Repeat([]byte("x"), 199), '\n')
			put(b, from, string(bytes.Repeat(line, b.N)))
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			b.ResetTimer()
			move(b, from, to)
			b.StopTimer()
			if info, err := os.Stat(to); err != nil || info.Size() != int64(b.N*len(line)) {
				b.Fatalf("the copy: %v, %v", info, err)
			}
		})
	}
}

func relay(b *testing.B, from, to string) {
	b.Helper()
	c := file.Connector()
	env := bridgetest.Env(b, "bench")
	env.MaxBatch = 1024
	in := c.Source.Settings().(*file.SourceSettings)
	in.Path = []string{from}
	source, err := c.Source.Open(b.Context(), in, env)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	sink := openSink(b, bridge.Text(to), func(s *file.SinkSettings) { s.Sync = false })
	for {
		batch, ack, err := source.Read(b.Context())
		if len(batch) > 0 {
			mustWrite(b, sink, batch)
			_ = ack(b.Context(), nil)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func byHand(b *testing.B, from, to string) {
	b.Helper()
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
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
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
}
