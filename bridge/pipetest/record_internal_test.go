package pipetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// TestRecord holds that what was recorded is read again byte for byte, whatever it holds, that what
// is expected of it is what comes of it, and that another recording goes behind the tests there are.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	pipelines := filepath.Join(dir, "p.yaml")
	text := `pipelines:
  one:
    from: [{mqtt: {url: "mqtt://127.0.0.1", topics: ["a"], client_id: a}}, {mqtt: {url: "mqtt://127.0.0.1", topics: ["b"], client_id: b}}]
    steps:
      - set: {header.made: "{{ uuid() }} {{ rand }} {{ now }}"}
      - filter: payload != "left out"
    to: {file: {path: "out/{{ topic }}"}}
    on_error: dead_letter
`
	if err := os.WriteFile(pipelines, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	control := new(strings.Builder)
	for r := range rune(0x100) {
		control.WriteRune(r)
	}
	at := time.Date(2026, 11, 28, 16, 4, 5, 678_901_234, time.FixedZone("", 3600))
	var all []Recorded
	for i, payload := range []string{
		"", " ", "plain", "left out", `{"t": 21.50, "room": "ü"}`, `{"a":1,"a":2}`, `{"<<": {"a": 1}}`,
		`["${HOME}", "{{ topic }}"]`,
		"${HOME} $${HOME} $$${x {{ now }} }}", "'", `it's "quoted" \n`, "- a: b # c", "null", "~", "0x10", "1e400",
		"\ttab\n\nlines \r\n",
		"\x00\xff binary", control.String(), "\ufeffBOM \ufffe \uffff \u2028\u2029 \u0085",
		`{"\ud83d\ude00": "\ud83d\ude00 😀"}`, "😀 \u200d e\u0301",
		strings.Repeat("[", 300) + strings.Repeat("]", 300), `{"` + strings.Repeat("k", 2000) + `":1}`,
		`{"t":-0,"u":1E5,"v":0.10,"w":123456789012345678901234567890}`,
		strings.Repeat("large \x01", 1<<20), strings.Repeat(`{"a":[1,2,3]}`+"\n", 1000), "@at", "`tick", "*star",
		"&and", "!tag", "%pct", "<a>&</a>", `{"h":"<&>"}`,
	} {
		m := Recorded{At: at, From: []string{"from", "from-2"}[i%2], Message: bridge.Message{
			Topic: fmt.Sprintf("t/%d/${HOME} 'ü\" {{ \x7f", i), Payload: []byte(payload), Time: at,
			Header: map[string]string{"k: \"$A}'": payload[:min(len(payload), 20)], "<<": "x"},
		}}
		if i%3 == 0 {
			m.ID, m.Header, m.Time = "id "+m.Topic, nil, at.Add(-time.Hour)
		}
		if i%5 == 0 {
			at = at.Add(1500 * time.Millisecond)
		}
		for k, v := range m.Header {
			m.Header[k] = strings.ToValidUTF8(v, "")
		}
		all = append(all, m)
	}
	bad, worse := all[0], all[0]
	bad.Topic, worse.Header = "\xff", map[string]string{"${HOME}": ""}
	name := filepath.Join(dir, "p_test.yaml")
	o := Options{Load: func(files []string, adjust func(*config.Loader)) (*config.Config, error) {
		l := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}
		adjust(&l)
		return l.Load(files...)
	}}
	for k := range 2 {
		messages := append([]Recorded{bad, worse}, all...)
		if k == 1 {
			messages = []Recorded{all[4]}
		}
		test, left, err := Record(t.Context(), name, Recording{"one", []string{pipelines}, messages}, o)
		if err != nil || len(left) != 2-2*k || k == 0 && !strings.Contains(left[0].Error(), "UTF-8") {
			written, _ := os.ReadFile(name)
			t.Fatalf("%v, left out %v, of %.3000s", err, left, written)
		}
		results, err := Run(t.Context(), name, o)
		if err != nil || len(results) != k+1 || results[k].Name != test || len(results[k].Failures) > 0 {
			t.Fatalf("%+v, %v", results, err)
		}
	}
	r := &runner{name: name}
	f, err := r.decode()
	if err != nil {
		t.Fatal(err)
	}
	clock, _ := time.Parse(time.RFC3339Nano, f.Tests[0].Now)
	for i := range f.Tests[0].Messages {
		in := &f.Tests[0].Messages[i]
		clock = clock.Add(in.After)
		got, want := in.batch(clock)[0], all[i].Message
		if off := got.Time.Sub(want.Time).Abs(); off >= time.Millisecond {
			t.Errorf("message %d is %v off", i, off)
		}
		if string(got.Payload) != string(want.Payload) { // which cmp takes long for
			t.Errorf("message %d has the payload %.100q, want %.100q", i, got.Payload, want.Payload)
		}
		got.Time = want.Time
		want.Payload, got.Payload = nil, nil
		if diff := cmp.Diff(want, got); diff != "" || in.From != all[i].From {
			t.Errorf("message %d from %s: %s", i, in.From, diff)
		}
	}
	if e := f.Tests[0].Expect; len(e.Sinks["file"].Messages) != len(all)-1 || *e.Filtered != 1 {
		t.Errorf("%d messages are expected", len(e.Sinks["file"].Messages))
	}
}
