package expr_test

import (
	"errors"
	"runtime"
	"testing"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{
		"", "plain", "{{ topic }}", "a/{{ json.c }}/{{ segment(topic, -1) }}", `{{ "{{" }}`, "{{ {'a': {'b': 1}}}}",
		"{{ map(1..10, # * 2) }}", "{{ let x = 1; x }}", "{{ json.l[1:2] }}", "{{ topic matches payload }}",
		"{{ count(json.l, count(json.l, # > 0) > 1) }}", "{{ let a = [payload, payload]; let b = [a, a]; a == b || a in b }}",
		"{{ replace(payload, '', payload) | split('') | join(payload) | uniq() }}",
		"{{ sortBy(json.l, repeat(payload, #)) | groupBy(# ?? 1) }}",
		"{{ reduce(1..9, #acc + #) }}", "{{ `", "{{ '\\' }}", "{{ toJSON(header) | fromJSON() }}", "{{ -1 ** 9 }}",
		"{{ uint16be(payload, json.c) + round(json.c, -1) }}",
		"{{ capture(payload, '(a)(b)?')?.x ?? hex(bytes(payload)[1:]) }}",
		"{{ format(fromUnix(json.c), '15:04') + default(json.d, unbase64(payload)) }}",
		"{{ parseTime(payload) }}{{ crc32(payload) }}",
	} {
		f.Add(text, `{"c":1,"l":[1,2,3]}`)
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		tmpl, err := expr.Template(text)
		if err != nil {
			var e *expr.Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: got %T, want an *expr.Error", text, err)
			}
			if e.Offset < 0 || e.Offset > utf8.RuneCountInString(text) {
				t.Fatalf("%q: the offset %d is outside", text, e.Offset)
			}
			return
		}
		m := &bridge.Message{Topic: "a/b", Payload: []byte(payload)}
		if got, ok := tmpl.Constant(); ok && got != text {
			t.Fatalf("%q: constant %q", text, got)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = tmpl.Render(m) // it must return
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; made > 1<<30 {
			t.Errorf("%q made %d MiB of %q", text, made>>20, payload)
		}
	})
}

func FuzzCondition(f *testing.F) {
	f.Add("json.c > 20", `{"c":21}`)
	f.Add("topic == payload", "x")
	f.Fuzz(func(t *testing.T, text, payload string) {
		cond, err := expr.Condition(text)
		if err != nil {
			return
		}
		if yes, err := cond.Match(&bridge.Message{Payload: []byte(payload)}); yes && err != nil {
			t.Fatalf("%q: both true and %v", text, err)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	m := message()
	for _, text := range []string{
		"{{ topic }}", "{{ toSubject(topic) }}", "out/{{ topic }}.ndjson", "{{ segment(topic, 1) }}", "{{ json.c }}",
		"{{ round(json.c, 1) }}", "{{ uint16be(payload, 3) }}", "{{ format(time, '15:04') }}",
	} {
		tmpl, err := expr.Template(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tmpl.Render(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCondition(b *testing.B) {
	m := &bridge.Message{Topic: "site/kitchen/temp", Payload: []byte(`{"celsius":21.5,"room":"kitchen","n":3}`)}
	for _, text := range []string{"topic startsWith 'site/'", "json.celsius > 20"} {
		cond, err := expr.Condition(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := cond.Match(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
