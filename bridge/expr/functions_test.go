package expr_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

func world() *expr.World {
	return &expr.World{
		Now:  func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) },
		Rand: func() float64 { return 0.25 },
		UUID: func() string { return "u-1" },
		Getenv: func(name string) (string, bool) {
			value, ok := map[string]string{
				"SITE": "k{{itchen", "EMPTY": "", "PATTERN": "^room(?P<n>[0-9]+)$", "BROKEN": canary + "(",
			}[name]
			return value, ok
		},
	}
}

// Each function has a value, one of a wrong type, and a missing one.
func TestFunctions(t *testing.T) {
	const sample = `{"n":1,"f":1.005,"s":"ü","neg":-2.5,"big":123456789012345678,"e":"","l":[1],"room":"room12",` +
		`"ts":"2026-01-02T03:04:05.5+01:00"}`
	for _, c := range []struct{ text, want string }{
		{
			"map([json.f, json.neg, len(topic), 18446744073709551615.0, 1 == 1, nil, topic, json, [1], bytes(topic), " +
				"now, now - now], type(#))",
			`["number","number","number","number","bool","nil","string","map","array","bytes","time","duration"]`,
		},
		{"type(fromJSON('18446744073709551615'))", "number"},
		{"round(json.f, 2)", "1.01"},
		{"round(json.f)", "1"},
		{"round(json.neg)", "-3"},
		{"round(2.5)", "3"},
		{"round(-0.3)", "0"},
		{"round(2.675, 2)", "2.68"},
		{"round(1234.5678, 3)", "1234.568"},
		{"round(1e300, 3)", "1e+300"},
		{"round(123456789.123456789, 8)", "123456789.12345679"},
		{"round(json.big, 2)", "123456789012345678"},
		{"round(json.big, -2)", "123456789012345700"},
		{"round(-1250, -2)", "-1300"},
		{"round(1249.9, -2)", "1200"},
		{"round((70 - 32) / 1.8, 1)", "21.1"},
		{"round(json.s, 1)", "!round wants a number, not a text"},
		{"round(json.no, 1)", "!round wants a number, not nil; write … ?? and a value if it may be missing"},
		{"round(1.5, json.f)", "!round wants a whole number of digits, from -15 to 15"},
		{"round(1.5, 16)", "!round wants a whole number of digits, from -15 to 15"},
		{"round(1/0)", "!the value is not a finite number, as after a division by 0"},

		{"default(json.no, 'x')", "x"},
		{"default(json.e, 'x')", "x"},
		{"default(header.no, json.n)", "1"},
		{"default(json.n, 'x')", "1"},
		{"default(json.n == 2, true)", "false"},
		{"default(json.l, 'x')", "[1]"},
		{"default(json.no, json.no)", `!the value is nil; write (… ?? "text") if it may be missing`},

		{"len(bytes(json.s))", "2"},
		{"bytes(json.s)[0] + bytes(json.s)[-1]", "383"},
		{"bytes(json.s)[1] > 100", "true"},
		{"bytes(json.s)[0]", "195"},
		{"hex(bytes('abcd')[1:3])", "6263"},
		{"map(bytes('ab'), # + 1)", "[98,99]"},
		{"string(bytes('ab'))", "ab"},
		{"bytes(bytes('ab'))", "ab"},
		{"bytes(json.s)[2]", "!index out of range: 2 (array length is 2)"},
		{"bytes(json.n)", "!bytes wants a text or bytes, not a number"},
		{"bytes(json.no)", "!bytes wants a text or bytes, not nil; write … ?? and a value if it may be missing"},

		{"base64('a\x00b')", "YQBi"},
		{"base64(bytes('ab'))", "YWI="},
		{"base64(json.n)", "!base64 wants a text or bytes, not a number"},
		{"base64(json.no)", "!base64 wants a text or bytes, not nil; write … ?? and a value if it may be missing"},
		{"unbase64('YWI=') + unbase64('YWI')", "abab"},
		{"hex(unbase64('-_8=')) + hex(unbase64('+/8'))", "fbfffbff"},
		{"unbase64(json.s)", "!the text is not base64"},
		{"unbase64(json.n)", "!unbase64 wants a text, not a number"},
		{"unbase64(json.no)", "!unbase64 wants a text, not nil; write … ?? and a value if it may be missing"},
		{"hex(json.s)", "c3bc"},
		{"hex(json.l)", "!hex wants a text or bytes, not a list"},
		{"hex(json.no)", "!hex wants a text or bytes, not nil; write … ?? and a value if it may be missing"},
		{"unhex('C3bc')", "ü"},
		{"unhex('c3b')", "!the text is not hexadecimal"},
		{"unhex(json.n)", "!unhex wants a text, not a number"},
		{"unhex(json.no)", "!unhex wants a text, not nil; write … ?? and a value if it may be missing"},
		{"sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"sha256(bytes('abc')) == sha256('abc')", "true"},
		{"sha256(json.n)", "!sha256 wants a text or bytes, not a number"},
		{"sha256(json.no)", "!sha256 wants a text or bytes, not nil; write … ?? and a value if it may be missing"},
		{"crc32('123456789') == 0xcbf43926", "true"},
		{"crc32(json.n)", "!crc32 wants a text or bytes, not a number"},
		{"crc32(json.no)", "!crc32 wants a text or bytes, not nil; write … ?? and a value if it may be missing"},

		{"uuid()", "u-1"},
		{"rand", "0.25"},
		{"now", "2030-01-01T00:00:00Z"},
		{"env('SITE') + '/' + env('EMPTY') + '.'", "k{{itchen/."},
		{"'room7' matches env('PATTERN')", "true"},
		{"capture('room7', env('PATTERN')).n", "7"},

		{"capture(json.room, '([a-z]+)([0-9]+)')", `["room12","room","12"]`},
		{"capture(json.room, '([a-z]+)([0-9]+)')[2]", "12"},
		{"capture(json.room, '(?P<kind>[a-z]+)(?P<n>[0-9]+)').n", "12"},
		{"capture(json.room, '(?<kind>[a-z]+)([0-9]+)')", `{"kind":"room"}`},
		{"capture(topic, 'site/(a)?(.*)/')[1] ?? 'none'", "none"},
		{"capture(topic, '(x)') ?? 'no match'", "no match"},
		{"capture(topic, '(?<n>x)')?.n ?? 'no match'", "no match"},
		{"capture(json.n, '(x)')", "!capture wants a text, not a number"},
		{"capture(json.no, '(x)')", "!capture wants a text, not nil; write … ?? and a value if it may be missing"},

		{"unix(time)", "1767323045"},
		{"unixMilli(time)", "1767323045000"},
		{"unix(json.n)", "!unix wants a time, not a number"},
		{"unixMilli(json.no)", "!unixMilli wants a time, not nil; write … ?? and a value if it may be missing"},
		{"fromUnix(1700000000)", "2023-11-14T22:13:20Z"},
		{"fromUnix(1700000000.25)", "2023-11-14T22:13:20.25Z"},
		{"fromUnix(-1.5)", "1969-12-31T23:59:58.5Z"},
		{"fromUnixMilli(1700000000123)", "2023-11-14T22:13:20.123Z"},
		{"fromUnixMilli(-1)", "1969-12-31T23:59:59.999Z"},
		{"fromUnix(1700000000123)", "!fromUnix: the time is before year 1 or after year 9999"},
		{"fromUnix(json.s)", "!fromUnix wants a number, not a text"},
		{"fromUnixMilli(json.no)", "!fromUnixMilli wants a number, not nil; write … ?? and a value if it may be missing"},
		{"parseTime(json.ts)", "2026-01-02T03:04:05.5+01:00"},
		{"unixMilli(parseTime(json.ts))", "1767319445500"},
		{"parseTime('02.01.2026 03:04', '02.01.2006 15:04')", "2026-01-02T03:04:00Z"},
		{"parseTime('02.07.2026 03:04', '02.01.2006 15:04', 'Europe/Berlin')", "2026-07-02T03:04:00+02:00"},
		{"parseTime(json.s)", "!the text is not a time of that layout"},
		{"parseTime(json.n)", "!parseTime wants a text, not a number"},
		{"parseTime(json.no)", "!parseTime wants a text, not nil; write … ?? and a value if it may be missing"},
		{"format(time, '2006-01-02 15:04:05.000')", "2026-01-02 03:04:05.000"},
		{"format(parseTime(json.ts), '15:04')", "03:04"},
		{"format(parseTime(json.ts), '15:04', 'UTC') + format(parseTime(json.ts), '15:04')", "02:0403:04"},
		{"format(time, '15:04 MST', 'Europe/Berlin')", "04:04 CET"},
		{"format(json.n, '15:04')", "!format wants a time, not a number"},
		{"format(json.no, '15:04')", "!format wants a time, not nil; write … ?? and a value if it may be missing"},
	} {
		m := message()
		m.Payload = []byte(sample)
		evaluates(t, c.text, m, c.want)
	}
}

// evaluates compares what an expression gives with want, or, behind an exclamation mark, why not.
func evaluates(t *testing.T, text string, m *bridge.Message, want string) {
	t.Helper()
	tmpl, err := expr.Parts{{Text: " " + text + " ", Code: true, World: world()}}.Template()
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	got, err := tmpl.Render(m)
	if err != nil {
		got = "!" + strings.TrimPrefix(err.Error(), "evaluate "+text+": ")
	}
	if got != want {
		t.Errorf("%s: got %s, want %s", text, got, want)
	}
	if err == nil { // the same where the meter is asked
		in := "{{ map([1], " + text + ")[0] }}"
		if tmpl, err = (expr.Parts{{Text: in[2 : len(in)-2], Code: true, World: world()}}).Template(); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got, err := tmpl.Render(m); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestFunctionMistakesAreFoundBeforeTheStart(t *testing.T) {
	const constant = " must be a text in quotes"
	const hostile = "; a message could choose one that takes very long"
	for _, c := range []struct {
		text   string
		offset int
		want   string
	}{
		{"env('NOPE')", 4, "the environment variable NOPE is not set"},
		{"env(topic)", 4, "the name in env" + constant},
		{"topic + env(env('SITE') + topic)", 24, "the name in env" + constant},
		{"topic matches env('BROKEN')", -1, "the pattern of matches cannot be compiled"},
		{"capture(topic, env('BROKEN'))", -1, "the pattern of capture cannot be compiled"},
		{"capture(topic, 'a(')", 15, "error parsing regexp: missing closing ): `a(`"},
		{"capture(topic, 'a')", 15, "the pattern of capture has no group; write what to take in ( )"},
		{"capture(topic, json.p)", 20, "the pattern of capture" + constant + hostile},
		{"parseTime(json.t, json.p)", 23, "the layout of parseTime" + constant},
		{
			"format(time, 'YYYY-MM-DD')", 13,
			"the layout has nothing of a time in it; write it as 2006-01-02 15:04:05 would look",
		},
		{
			"format(time, '%Y-%m-%d')", 13,
			"the layout has nothing of a time in it; write it as 2006-01-02 15:04:05 would look",
		},
		{"format(time, '15:04', 'Europe/Brelin')", 22, "" +
			"there is no such time zone, or this machine does not know it; write one like \"Europe/Berlin\""},
		{"format(time, '15:04', topic)", 22, "the time zone of format" + constant},
		{"jsonParse(payload)", 0, "unknown name jsonParse; it is fromJSON here"},
		{"toBase64(payload)", 0, "unknown name toBase64; it is base64 here"},
		{"date(payload)", 0, "unknown name date; it is parseTime here"},
		{"roundd(1.5, 1)", 0, "unknown name roundd; did you mean round? " +
			"variables: header, id, json, now, payload, rand, seq, time, topic; " +
			"xrtcbridge help expressions lists the functions"},
		{"round(1, 2, 3)", -1, "too many arguments to call round"},
		{"uint8(1, 1)", -1, "uint8 wants a text, not a number"},
		{"round()", -1, "not enough arguments to call round"},
		{"uint16be(payload)", -1, "not enough arguments to call uint16be"},
	} {
		_, err := expr.Parts{{Text: c.text, Code: true, World: world()}}.Template()
		var e *expr.Error
		if !errors.As(err, &e) || e.Error() != c.want || e.Offset != c.offset && c.offset >= 0 {
			t.Errorf("%s: got %+v, want %d %s", c.text, err, c.offset, c.want)
		}
	}
}

// What a plugin compiles again, which has another environment, is the same.
func TestEnvIsFilledInForOtherProcesses(t *testing.T) {
	for _, text := range []string{
		"a {{ env('SITE') }} b", "{{ upper(env(\"SITE\")) + topic }}",
		"{{ {'a': {'b': env('SITE')}}}}", "{{ let x = env('SITE'); x + 'env' }}",
		"{{ json?.x?.y ?? env('SITE') }}",
		"{{ map([1, 2], # > 1 ? env('SITE') : 'no') | join('}}') }}", "{{ round(1.25, 1) }}{{ env('SITE')[1:] }}",
	} {
		parts, err := expr.Split(text)
		for i := range parts {
			parts[i].World = world()
		}
		tmpl, e := parts.Template()
		if err := errors.Join(err, e); err != nil {
			t.Fatal(err)
		}
		source := tmpl.(fmt.Stringer).String()
		again, err := expr.Template(source)
		if err != nil {
			t.Errorf("%s: %s: %v", text, source, err)
			continue
		}
		want, err1 := tmpl.Render(message())
		if got, err2 := again.Render(message()); got != want || err1 != nil || err2 != nil {
			t.Errorf("%s: got %s, %v, want %s, %v", source, got, err2, want, err1)
		}
	}
	c, err := expr.Part{Text: "topic == env('SITE')", Code: true, World: world()}.Condition()
	if err != nil || fmt.Sprint(c) != ` topic == "k{{itchen" ` {
		t.Errorf("got %v, %v", c, err)
	}
	parts := expr.Parts{{Text: "env('SITE')", Code: true, World: world()}}
	v, err := parts.Value()
	if b, e := json.Marshal(v); err != nil || e != nil || string(b) != `"{{ \"k{{itchen\" }}"` {
		t.Errorf("got %s, %v, %v", b, err, e)
	}
}

// Payloads that are no text are read, and all indices are checked.
func TestBinaryPayload(t *testing.T) {
	m := &bridge.Message{Payload: []byte("\xff\x80\x00\x01\x02\x41\xac\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff")}
	for _, c := range []struct{ text, want string }{
		{"uint8(payload, 0)", "255"},
		{"int8(payload, 0)", "-1"},
		{"uint8(bytes(payload), 4)", "2"},
		{"uint8(payload, -1)", "255"},
		{"uint16be(payload, 0)", "65408"},
		{"uint16le(payload, 0)", "33023"},
		{"int16be(payload, 0)", "-128"},
		{"int16le(payload, 0)", "-32513"},
		{"uint24be(payload, 2)", "258"},
		{"uint24le(payload, 2)", "131328"},
		{"int24be(payload, 0)", "-32768"},
		{"int24le(payload, 7)", "-131072"},
		{"uint32be(payload, 1)", "2147483906"},
		{"int32be(payload, 1)", "-2147483390"},
		{"uint32le(payload, 1)", "33620096"},
		{"int32le(payload, -4)", "-1"},
		{"uint64be(payload, 9)", "18374686479671623679"},
		{"uint64le(payload, 9)", "18446744073709551614"},
		{"uint64be(payload, 2)", "283956058521854"},
		{"int64be(payload, -8)", "-1"},
		{"int64le(payload, 9)", "-2"},
		{"float32be(payload, 5)", "21.5"},
		{"float32le(unhex('0000ac41'), 0)", "21.5"},
		{"float64be(unhex('4035800000000000'), 0)", "21.5"},
		{"float64le(unhex('0000000000803540'), 0) / 2", "10.75"},
		{"uint16be(payload, 0) / 10", "6540.8"},
		{"float32be(unhex('7fc00000'), 0)", "!the value is not a finite number, as after a division by 0"},
		{"uint16be(payload, 17)", "!uint16be: there is nothing so long (2) at that index"},
		{"uint64be(payload, 11)", "!uint64be: there is nothing so long (8) at that index"},
		{"uint16be(payload, -1)", "!uint16be: there is nothing so long (2) at that index"},
		{"uint8(payload, -19)", "!uint8: there is nothing so long (1) at that index"},
		{"uint8(payload, 9223372036854775807)", "!uint8: there is nothing so long (1) at that index"},
		{"uint8('', 0)", "!uint8: there is nothing so long (1) at that index"},
		{"uint8(payload, header.no)", "" +
			"!uint8 wants a whole number behind the payload, not nil; write … ?? and a value if it may be missing"},
		{
			"uint8(header.no, 0)",
			"!uint8 wants the payload, a text or bytes, not nil; write … ?? and a value if it may be missing",
		},
		{"len(bytes(payload))", "18"},
	} {
		evaluates(t, c.text, m, c.want)
	}
	m.Payload = []byte(strings.Repeat("\x01\x00", 30_000))
	evaluates(t, "sum(map(0..int(len(bytes(payload)) / 2) - 1, uint16le(payload, 2 * #)))", m, "30000")
}

func TestUUIDsAreRandom(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	one, err := render(t, "{{ uuid() }}", message())
	other, _ := render(t, "{{ uuid() }}", message())
	if err != nil || !form.MatchString(one) || !form.MatchString(other) || one == other {
		t.Errorf("got %s, %s, %v", one, other, err)
	}
}

// Rounding agrees with the decimal digits that people see.
func FuzzRound(f *testing.F) {
	for _, x := range []float64{0, 1.005, -2.675, 0.5, 1e22, 123456.785, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		f.Add(x, 2)
	}
	tmpl, err := expr.Template("{{ round(float(header.x), int(header.n)) }}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, x float64, n int) {
		if n < -15 || n > 15 || math.IsNaN(x) || math.IsInf(x, 0) {
			return // no number, or digits that are refused
		}
		checkRound(t, tmpl, x, n)
	})
}

func checkRound(t *testing.T, tmpl bridge.Template, x float64, n int) {
	t.Helper()
	shown := strconv.FormatFloat(x, 'f', -1, 64)
	got, err := tmpl.Render(&bridge.Message{Header: map[string]string{"x": shown, "n": strconv.Itoa(n)}})
	if err != nil {
		t.Fatalf("round(%s, %d): %v", shown, n, err)
	}
	want, _ := new(big.Rat).SetString(shown)
	shift := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n, -n))), nil))
	if n < 0 {
		shift.Inv(shift)
	}
	want, _ = new(big.Rat).SetString(want.Mul(want, shift).FloatString(0))
	nearest, _ := want.Quo(want, shift).Float64()
	if f, err := strconv.ParseFloat(got, 64); err != nil || f != nearest {
		t.Errorf("round(%s, %d): got %s, want %v", shown, n, got, nearest)
	}
}
