package connectors_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkCSV makes NDJSON of a CSV file of ten columns, five of them numbers: as a pipeline, and
// by the shortest loop that one would write by hand with encoding/csv and strconv, in turn.
func BenchmarkCSV(b *testing.B) {
	const rows = 1_000_000
	dir := b.TempDir()
	f := &field{in: filepath.Join(dir, "in.csv"), out: filepath.Join(dir, "out")}
	text := []byte("time,room,celsius,humidity,pressure,state,seq,on,device,uptime\n")
	for i := range rows {
		text = append(text, "2026-11-28T08:00:00Z,kitchen,21.5,48,1013.25,ok,"...)
		text = append(strconv.AppendInt(text, int64(i), 10), ",true,7f3a9c,12345678\n"...)
	}
	check(b, os.WriteFile(f.in, text, 0o600))
	p := pair{
		from: `{file: {path: "$IN", codec: {kind: csv, types: {number: [celsius, humidity, pressure, seq, uptime]}}}}`,
		to:   `{file: {path: "$OUT", sync: false}}`,
	}
	var ours, loops []float64
	rate := func(under func()) float64 {
		f.reset(b)
		start := time.Now()
		under()
		took := time.Since(start)
		out, err := os.ReadFile(f.out)
		check(b, err)
		if n := bytes.Count(out, []byte("\"seq\":")); n != rows ||
			!bytes.HasPrefix(out, []byte(`{"time":"2026-11-28T08:00:00Z","room":"kitchen","celsius":21.5,`)) {
			b.Fatalf("%d rows did not all arrive: %d", rows, n)
		}
		return rows / took.Seconds()
	}
	for b.Loop() {
		for range rounds {
			loops = append(loops, rate(func() { loopCSV(b, f) }))
			ours = append(ours, rate(func() { p.pipeline(b, context.Background(), f) }))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ours), "bridge-rows/s")
	b.ReportMetric(median(loops), "loop-rows/s")
	b.ReportMetric(median(ours)/median(loops), "ratio")
}

func loopCSV(b *testing.B, f *field) {
	in, err := os.Open(f.in)
	check(b, err)
	defer in.Close()
	out, err := os.Create(f.out)
	check(b, err)
	w := bufio.NewWriterSize(out, 1<<16)
	r := csv.NewReader(bufio.NewReaderSize(in, 1<<16))
	r.ReuseRecord = true
	first, err := r.Read()
	check(b, err)
	names := append([]string(nil), first...)
	number := map[string]bool{"celsius": true, "humidity": true, "pressure": true, "seq": true, "uptime": true}
	isNumber := make([]bool, len(names))
	for i, n := range names {
		isNumber[i] = number[n]
	}
	var line []byte
	for {
		row, err := r.Read()
		if err != nil {
			break
		}
		line = append(line[:0], '{')
		for i, v := range row {
			if i > 0 {
				line = append(line, ',')
			}
			line = append(strconv.AppendQuote(line, names[i]), ':')
			if !isNumber[i] {
				line = strconv.AppendQuote(line, v)
				continue
			}
			x, err := strconv.ParseFloat(v, 64)
			check(b, err)
			line = strconv.AppendFloat(line, x, 'f', -1, 64)
		}
		_, _ = w.Write(append(line, "}\n"...))
	}
	check(b, w.Flush())
	check(b, out.Close())
}
