package jsonfield_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/jsonfield"
)

// S48: a key that stands in a mapping many times is removed in one go: a tenth of a million of them
// would take minutes one by one, and a GiB of copies each second.
func TestS48ManyFieldsOfOneName(t *testing.T) {
	p, err := jsonfield.Parse(".a")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ document, want string }{
		{`{"a":1,"a":2}`, `{}`},
		{`{"a":1,"a":2,"b":3}`, `{"b":3}`},
		{`{"b":1,"a":2,"a":3}`, `{"b":1}`},
		{`{"a":0,"b":1,"a":2,"a":3,"c":4,"a":5}`, `{"b":1,"c":4}`},
		{`{ "a":0, "a":1 , "b":1 , "a":2 , "c":4 }`, `{ "b":1 , "c":4 }`},
		{`{"b":1` + strings.Repeat(`,"a":0,"c":0`, 100_000) + `}`, `{"b":1` + strings.Repeat(`,"c":0`, 100_000) + `}`},
		{`{` + strings.Repeat(`"a":0,`, 150_000) + `"a":1}`, `{}`},
	} {
		document := []byte(c.document)
		got, err := p.Delete(document)
		if err != nil || string(got) != c.want {
			t.Errorf("%.60s: got %.60s, %v, want %.60s", c.document, got, err, c.want)
		}
		if string(document) != c.document {
			t.Errorf("%.60s: the document has changed", c.document)
		}
		if n := testing.AllocsPerRun(1, func() { _, _ = p.Delete(document) }); n > 60 {
			t.Errorf("%.60s: %v allocations", c.document, n)
		}
	}
}

// S48: what is nested deep takes no stack: more of it than this ends the process.
func TestS48DeepDocuments(t *testing.T) {
	p, err := jsonfield.Parse(".a")
	if err != nil {
		t.Fatal(err)
	}
	const deep = 16 << 20
	for _, document := range [][]byte{
		bytes.Repeat([]byte("["), deep), bytes.Repeat([]byte(`{"b":`), deep/5), bytes.Repeat([]byte("[{"), deep/2),
	} {
		name := fmt.Sprintf("%s…", document[:5])
		if _, err := p.Set(document, []byte("0")); err == nil {
			t.Errorf("%s: is set", name)
		}
		if _, err := p.Delete(document); err == nil {
			t.Errorf("%s: is removed", name)
		}
		if raw, ok := p.Find(document); raw != "" || ok {
			t.Errorf("%s: found %.9q, %v", name, raw, ok)
		}
	}
}

// S48: what opens and never closes in its own way is looked through once, and not once for each.
func TestS48WhatClosesAnotherWay(t *testing.T) {
	p, err := jsonfield.Parse(".b")
	if err != nil {
		t.Fatal(err)
	}
	took := func(document string) (least time.Duration) {
		least = time.Hour
		for range 5 {
			began := time.Now()
			if raw, ok := p.Find([]byte(document)); ok {
				t.Fatalf("%.9s…: found %.9q", document, raw)
			}
			least = min(least, time.Since(began))
		}
		return least
	}
	for _, c := range []struct{ part, end string }{
		{"[}", ""}, {"[}", "]"}, {`["",}`, ""}, {`{"":1]`, ""}, {`{"":1]`, "}"}, {"[[}}", ""}, {`["\\\""}`, "]"}, {`["}`, `"]`},
	} {
		n := 1 << 19 / len(c.part)
		document := "{" + strings.Repeat(c.part, n) + c.end
		plain := "{" + strings.Repeat("0", n*len(c.part)) + c.end // a byte at a time
		if got, most := took(document), 50*took(plain)+time.Millisecond; got > most {
			t.Errorf("%d times %s: it takes %v, want at most %v", n, c.part, got, most)
		}
	}
}
