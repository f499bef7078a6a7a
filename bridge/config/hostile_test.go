package config_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// valid are documents to start mutations from.
func valid(t testing.TB) [][]byte {
	ten, err := os.ReadFile(filepath.Join("testdata", "ten-mistakes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{ten, []byte("pipelines: {a: {from: stdio, to: stdio}}\n"), []byte(`
fail_fast: true
connections:
  b: {mq: {url: "tcp://u:p@h:1", client_id: br, tls: {name: x, insecure: true}}}
pipelines:
  a:
    from: [{mq: {connection: b, topics: [t, u]}}, {every: {header: {a: b}, streams: {s: x}, rotate: 1MB, duration: 1d}}]
    steps:
      - pass: json.celsius > ${LIMIT} # warm
      - pass: {when: 'topic == "x"', on_error: drop}
    to:
      all:
        - mq: {connection: b, topic: "out/{{ topic }}/${HOST}"}
        - stdio:
    max_batch: 7
  text:
    from:
      every:
        text: |
          two
          lines
        condition: >-
          topic ==
          "x"
        secret: ${NOPE:-x}
    to: stdio
`)}
}

// check parses a text that may be anything, and checks what holds for every error.
func check(t *testing.T, text []byte) {
	t.Helper()
	c, err := loader(new(opened)).Parse("f", text)
	if err == nil {
		if len(c.Pipelines) == 0 {
			t.Errorf("accepted without a pipeline:\n%s", text)
		}
		return
	}
	es, ok := err.(config.Errors)
	if !ok || len(es) == 0 {
		t.Fatalf("got %T %v", err, err)
	}
	lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u2028")) +
		bytes.Count(text, []byte("\u2029")) + bytes.Count(text, []byte("\u0085")) + 2
	for i, e := range es {
		if e.Message == "" || !utf8.ValidString(e.Error()) || strings.Contains(e.Error(), "%!") {
			t.Errorf("%q: odd error %q", text, e)
		}
		if e.Line < 0 || e.Line > lines || i > 0 && es[i-1].Line > e.Line {
			t.Errorf("%q: line %d of %d in %v", text, e.Line, lines, err)
		}
		if (e.Line == 0 || e.Col == 0) && len(text) < 1<<16 {
			t.Errorf("%q: no place in %v", text, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range valid(f) {
		f.Add(text)
	}
	for _, text := range []string{
		"a: [1, 2\nb: 3\n", "a: &x {b: *x}\n", "? [a]\n: 1\n", "%YAML 1.1\n---\na: 1\n", "a: !!binary x\n",
		"\ufeffa: 1", "a: >+\n\n x\n",
		"---\n---\n", "...\n", "a:\n\t- b\n", "pipelines: {a: {from: {every: {template: '{{ {'}}}}", "'a\\\n': 1",
		"a: b: c", "a: \"${\"",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<15 {
			return
		}
		check(t, text)
	})
}

func TestF27MalformedCorpus(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	documents := valid(t)
	tokens := []string{
		"${", "}", "{{", "}}", "&a ", "*a", "<<: ", "!x ", "\t", "\n", ": ", "- ", "[", "]", "{", "}", "'", "\"", "#",
		"|", ">",
		"\x00", "\xff", "\ufeff", "---\n", "...\n", "? ", "~", "${NOPE}", "${file:x}", "'${'", "\\", "\r", "\u2028", "é",
	}
	deadline := time.Now().Add(2 * time.Second)
	n := 0
	for ; time.Now().Before(deadline); n++ {
		text := bytes.Clone(documents[r.IntN(len(documents))])
		for range 1 + r.IntN(4) {
			text = mutate(r, text, documents[r.IntN(len(documents))], tokens[r.IntN(len(tokens))])
		}
		check(t, text)
	}
	if n < 100 {
		t.Errorf("only %d texts in 2 s", n)
	}
	t.Logf("%d texts", n)
}

// mutate changes one thing in text.
func mutate(r *rand.Rand, text, other []byte, token string) []byte {
	i := r.IntN(len(text) + 1)
	j := min(len(text), i+r.IntN(20))
	switch r.IntN(5) {
	case 0: // remove
		return append(text[:i:i], text[j:]...)
	case 1: // insert
		return append(append(text[:i:i], token...), text[i:]...)
	case 2: // repeat
		return append(text[:j:j], text[i:]...)
	case 3: // cross over
		return append(text[:i:i], other[r.IntN(len(other)):]...)
	}
	if i < len(text) { // flip
		text[i] ^= 1 << r.IntN(8)
	}
	return text
}

// Known attacks on YAML parsers must be refused quickly.
func TestF27HostileFiles(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ","))
	}
	for name, text := range map[string]string{
		"alias bomb":        bomb,
		"nested lists":      strings.Repeat("[", 60_000),
		"nested mappings":   strings.Repeat("{a: ", 15_000),
		"nested blocks":     strings.Repeat("- ", 9_000) + "x",
		"keys without end":  strings.Repeat("? ", 9_000),
		"long key":          strings.Repeat("k", 1<<20-10) + ": 1",
		"many keys":         strings.Repeat("a: 1\n", 200_000),
		"many unknown keys": manyKeys(9_000),
		"long quote":        "a: \"" + strings.Repeat("x", 1<<20-10),
		"many lines":        strings.Repeat("a:\n", 10_000),
		"many anchors":      strings.Repeat("- &a x\n", 100_000),
		"many documents":    strings.Repeat("---\n", 200_000),
		"many variables": "pipelines: {a: {from: {every: {text: '" + strings.Repeat("${NOPE}", 100_000) +
			"'}}, to: stdio}}",
		"many expressions": "pipelines: {a: {from: {every: {template: '" + strings.Repeat("{{ topic }}", 50_000) +
			"${NOPE}'}}, to: stdio}}",
		"deep expression": "pipelines: {a: {from: {every: {condition: '" + strings.Repeat("(", 1_000_000) +
			"'}}, to: stdio}}",
		"comments":           strings.Repeat("# x\n", 250_000),
		"colons":             strings.Repeat(":", 1<<20-1),
		"tabs":               strings.Repeat("\t\n", 500_000),
		"brackets in quotes": "a: '" + strings.Repeat("[", 60_000),
	} {
		t.Run(name, func(t *testing.T) {
			before := bridgetest.CPU()
			_, err := loader(new(opened)).Parse("f", []byte(text))
			if err == nil {
				t.Error("is accepted")
			}
			// It is to take 1 s; the race detector gets its share.
			if took := bridgetest.CPU() - before; took > 10*time.Second {
				t.Errorf("took %v of a processor", took)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}

func BenchmarkParse5000Pipelines(b *testing.B) {
	var text bytes.Buffer
	text.WriteString("connections: {b: {mq: {url: 'a://b'}}}\npipelines:\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "  p%d: {from: {mq: {connection: b, topics: ['a/%d']}}, steps: [pass: json.c > %d], "+
			"to: {mq: {connection: b, topic: 'out/{{ topic }}'}}}\n", i, i, i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	l := loader(new(opened))
	for b.Loop() {
		c, err := l.Parse("f", text.Bytes())
		if err != nil || len(c.Pipelines) != 5000 {
			b.Fatal(err)
		}
	}
}
