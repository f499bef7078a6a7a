package record_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

// FuzzCSV checks that a table is read as encoding/csv reads it, or refused as that refuses it, and
// that rows are found in pieces of any size.
func FuzzCSV(f *testing.F) {
	for _, text := range []string{
		"a,b\n1,2\n", "a,b\r\n\"1\n\"\"x\",2", "\xef\xbb\xbf\"a\",\"b\nc\"\n1,\n\n,2", "a\n\"", "a,\"b\"c\n", "\n\n",
		"a,b\n1\n", "a\n\xff", "a\n\"\"\n",
	} {
		f.Add(text, uint8(1))
	}
	f.Fuzz(func(t *testing.T, text string, piece uint8) {
		c := record.CSV{Quotes: true}
		rows, size := c.Rows(), 1+int(piece)
		for rest, seen := []byte(text), 0; len(rest) > 0; {
			n := min(len(rest), seen+size)
			row, taken := rows.Next(rest[:n], seen, n == len(rest))
			if taken == 0 {
				seen = n
				continue
			}
			if whole, wholly := c.Rows().Next(rest, 0, true); whole != row || wholly != taken {
				t.Fatalf("%q in pieces of %d: %d, %d, whole: %d, %d", rest, size, row, taken, whole, wholly)
			}
			rest, seen = rest[taken:], 0
		}
		got, err := c.AppendTable([]byte("x"), []byte(text), record.Types{Default: "auto"}, 1<<20)
		if err != nil {
			if string(got) != "x" {
				t.Fatalf("%q is left of what was refused", got)
			}
			return
		}
		if !json.Valid(got[1:]) {
			t.Fatalf("%q became %s", text, got)
		}
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\xef\xbb\xbf")))
		want, err := r.ReadAll()
		if err != nil {
			t.Fatalf("%q became %s, and encoding/csv says %v", text, got, err)
		}
		objects := gjson.ParseBytes(got[1:]).Array()
		if len(objects) != max(0, len(want)-1) {
			t.Fatalf("%q became %s", text, got)
		}
		for i, o := range objects {
			k := 0
			o.ForEach(func(key, value gjson.Result) bool {
				// encoding/csv makes one byte of the two that end a line within quotes.
				if s := strings.ReplaceAll(value.String(), "\r\n", "\n"); key.Str != "" &&
					value.Type == gjson.String && s != want[i+1][k] ||
					value.Type == gjson.Number && value.Raw != want[i+1][k] {
					t.Errorf("%q: row %d, value %d is %q, want %q", text, i+1, k+1, value, want[i+1][k])
				}
				k++
				return true
			})
		}
	})
}

// FuzzLine checks that what is read of a line is a JSON object, and that what is written of it can
// be read again.
func FuzzLine(f *testing.F) {
	for _, line := range []string{
		`a=1 b="x \"y\n" c`, "a:1;b: x ;", `<165>1 2003-10-11T22:14:15.003Z h a - ID [x@1 a="1" a="\]"][y] m`,
		"<34>Oct 11 22:14:15 h su[1]: x",
		"Oct  1 02:14:15 h x", "<13>", `<1>1 - - - - - [a b="\`, "a=\"\\", "\xff=\xfe",
	} {
		f.Add(line, false)
		f.Add(line, true)
	}
	f.Fuzz(func(t *testing.T, line string, auto bool) {
		types := record.Types{Default: map[bool]string{true: "auto"}[auto]}
		at := time.Unix(1e9, 0).UTC()
		check := func(name string, got []byte, err error, write func([]byte) ([]byte, error), read func([]byte) ([]byte, error)) {
			if err != nil {
				if len(got) > 0 {
					t.Fatalf("%s: %q is left of what was refused", name, got)
				}
				return
			}
			if !json.Valid(got) || got[0] != '{' {
				t.Fatalf("%s: %q became %s", name, line, got)
			}
			text, err := write(got)
			if err != nil {
				return // not all that can be read can be written
			}
			if again, err := read(text); err != nil && bytes.IndexByte(text, '\n') < 0 {
				t.Fatalf("%s: %s was written as %q: %v", name, got, text, err)
			} else if twice, err := write(again); err == nil && !bytes.Equal(text, twice) {
				t.Fatalf("%s: %s was written as %q, and again as %q", name, got, text, twice)
			}
		}
		for _, p := range []record.Pairs{{Assign: "=", Types: types}, {Delimiter: ";", Assign: ":", Types: types}} {
			read := func(line []byte) ([]byte, error) { return p.Append(nil, line) }
			got, err := read([]byte(line))
			check("pairs", got, err, p.Write, read)
		}
		read := func(line []byte) ([]byte, error) { return record.AppendSyslog(nil, line, at) }
		got, err := read([]byte(line))
		check("syslog", got, err, func(b []byte) ([]byte, error) { return record.WriteSyslog(b, at) }, read)
	})
}

// FuzzWrite checks that rows that are written can be read again.
func FuzzWrite(f *testing.F) {
	for _, text := range []string{`[{"a":1,"b":"x\ny"},{"b":""}]`, `{"":null}`, `[]`, `[[]]`, `{"a":{"b":"\""}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := record.WriteRows([]byte(text), record.CSV{Quotes: true}, true, len(text)*len(text))
		if err != nil {
			return
		}
		got, err := record.CSV{Quotes: true}.AppendTable(nil, rows, record.Types{}, 1<<20)
		if err != nil && !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "UTF-8") {
			t.Fatalf("%s became %q: %v", text, rows, err)
		}
		if err == nil && !json.Valid(got) {
			t.Fatalf("%s became %q, and that %s", text, rows, got)
		}
	})
}

// FuzzNumber checks that a number is what JSON takes for one.
func FuzzNumber(f *testing.F) {
	for _, text := range []string{
		"0", "-0.10e+7", "007", "1.", ".5", "+1", "1e", "-", "", "12345678901234567890123",
		"1_0", "Infinity", "0x1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, ",\n\r\"") {
			return
		}
		table, err := record.CSV{Columns: []string{"n"}}.Table(record.Types{Number: []string{"n"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := table.Append(nil, []byte(text))
		_, isNumber := new(big.Float).SetString(text)
		valid := json.Valid([]byte(text)) && isNumber && strings.TrimSpace(text) == text
		if want := `{"n":` + text + `}`; (err == nil) != (valid || text == "") || valid && string(got) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	})
}

func TestCheckJSONNamesThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "", "[1,2": "line 1, column 4: is not JSON from here on",
		"\n\n {x}": "line 3, column 3: is not JSON from here on", "": "line 1, column 1: is empty, where JSON is wanted",
	} {
		got := ""
		if err := record.CheckJSON([]byte(text)); err != nil {
			got = err.Error()
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// BenchmarkRow is a row of ten columns.
func BenchmarkRow(b *testing.B) {
	row := []byte("2026-11-28T08:00:00Z,kitchen,21.5,48,1013.25,true,17,ok,7f3a9c,12345678")
	c := record.CSV{
		Columns: strings.Split("time,room,celsius,humidity,pressure,on,seq,state,device,uptime", ","),
		Quotes:  true,
	}
	for _, types := range []string{"text", "auto"} {
		b.Run(types, func(b *testing.B) {
			table, err := c.Table(record.Types{Default: types}, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if dst, err = table.Append(dst[:0], row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
