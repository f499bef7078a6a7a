package expr

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/conf"
)

// addition is a function that the language has beside its own.
type addition struct {
	name  string
	call  function
	cost  cost
	grows bool  // see functionCost
	types []any // what calls may look like, as pointers to functions
}

// additions lists them. Of env, capture, parseTime and format it has the types; what they do
// depends on arguments that are constant, see metering.constant.
func additions(w *World) []addition {
	bytesToText := []any{new(func([]byte) string), new(func(string) string)}
	textToText := []any{new(func(string) string)}
	all := []addition{
		{"round", round, once, false, []any{new(func(any) any), new(func(any, int) any)}},
		{"type", typeOf, once, false, []any{new(func(any) string)}},
		{"default", orDefault, once, false, []any{new(func(any, any) any)}},
		{
			"bytes", ofBytes("bytes", slices.Clip[[]byte]), texts, false,
			[]any{new(func([]byte) []byte), new(func(string) []byte)},
		},
		{"base64", ofBytes("base64", base64.StdEncoding.EncodeToString), times(4, texts), true, bytesToText},
		{"unbase64", unbase64, times(4, texts), false, textToText},
		{"hex", ofBytes("hex", hex.EncodeToString), times(4, texts), true, bytesToText},
		{"unhex", unhex, times(4, texts), false, textToText},
		{"sha256", ofBytes("sha256", sha256Hex), times(2, texts), false, bytesToText},
		{"crc32", ofBytes("crc32", checksum), texts, false, []any{new(func([]byte) int), new(func(string) int)}},
		{"uuid", w.uuid, times(16, once), false, []any{new(func() string)}},
		{"env", nil, once, false, textToText},
		{"capture", nil, once, false, []any{new(func(string, string) any)}},
	}
	return slices.Concat(all, timeAdditions(), binaryAdditions())
}

// elsewhere says how what people may look for is called here. What the language has of it would do
// the same by another name, or guess what is meant.
func elsewhere() map[string]string {
	return map[string]string{
		"toBase64": "base64", "fromBase64": "unbase64", "date": "parseTime", "jsonParse": "fromJSON", "parseJSON": "fromJSON",
	}
}

// additionOptions makes the additions known.
func additionOptions(w *World) []expr.Option {
	all := []expr.Option{func(c *conf.Config) {
		for name := range elsewhere() {
			c.Disabled[name] = true
			delete(c.Builtins, name)
		}
	}}
	for _, f := range additions(w) {
		all = append(all, expr.Function(f.name, f.call, f.types...))
	}
	return all
}

// Functions returns the names of the functions that the language has beside its own.
func Functions() []string {
	all := functions()
	for _, f := range additions(nil) {
		all = append(all, f.name)
	}
	return all
}

func once(m *meter, _ []any) { m.left-- }

// unlike is the error of a function that is given something else than it wants.
func unlike(name, want string, got any) error {
	why := name + " wants " + want + ", not " + kindName(fmt.Sprintf("%T", got))
	if got == nil {
		why += "; write … ?? and a value if it may be missing"
	}
	return reason(why)
}

// ofBytes makes a function of one text, or bytes.
func ofBytes[T any](name string, f func([]byte) T) function {
	return func(a ...any) (any, error) {
		switch x := a[0].(type) {
		case string:
			return f([]byte(x)), nil
		case []byte:
			return f(x), nil
		}
		return nil, unlike(name, "a text or bytes", a[0])
	}
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func checksum(b []byte) int { return int(crc32.ChecksumIEEE(b)) }

func unhex(a ...any) (any, error) {
	text, ok := a[0].(string)
	if !ok {
		return nil, unlike("unhex", "a text", a[0])
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, reason("the text is not hexadecimal")
	}
	return string(b), nil
}

// unbase64 takes both alphabets, with the = at the end or without.
func unbase64(a ...any) (any, error) {
	text, ok := a[0].(string)
	if !ok {
		return nil, unlike("unbase64", "a text", a[0])
	}
	alphabet := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		alphabet = base64.RawURLEncoding
	}
	b, err := alphabet.DecodeString(strings.TrimRight(text, "=\r\n"))
	if err != nil {
		return nil, reason("the text is not base64")
	}
	return string(b), nil
}

func orDefault(a ...any) (any, error) {
	if a[0] == nil || a[0] == "" {
		return a[1], nil
	}
	return a[0], nil
}

const mostDigits = 15 // what a float64 keeps of any number

// round rounds the decimal number that people see, where 1.005 is none that a float64 can be.
// Halves go away from zero.
func round(a ...any) (any, error) {
	digits := 0
	if len(a) > 1 {
		n, ok := a[1].(int)
		if !ok || n < -mostDigits || n > mostDigits {
			return nil, reason(fmt.Sprintf("round wants a whole number of digits, from -%[1]d to %[1]d", mostDigits))
		}
		digits = n
	}
	x, whole, ok := toFloat(a[0])
	switch {
	case !ok:
		return nil, unlike("round", "a number", a[0])
	case whole && digits >= 0:
		return a[0], nil
	case math.IsNaN(x) || math.IsInf(x, 0):
		return nil, errNotFinite
	case digits == 0:
		return math.Round(x) + 0, nil // and no -0
	}
	scaled := math.Abs(x) * math.Pow10(digits)
	if clear := math.Abs(scaled-math.Floor(scaled)-0.5) > 1e-4; clear && digits >= 0 && scaled < 1<<36 {
		return math.Copysign(math.Round(scaled)/math.Pow10(digits), x) + 0, nil
	}
	if whole {
		return roundDecimal(fmt.Sprint(a[0]), digits, true), nil
	}
	return roundDecimal(strconv.FormatFloat(x, 'g', -1, 64), digits, false), nil
}

func roundDecimal(text string, digits int, whole bool) any {
	r, _ := new(big.Rat).SetString(text)
	shift := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(digits, -digits))), nil))
	if digits < 0 {
		shift.Inv(shift)
	}
	r, _ = new(big.Rat).SetString(r.Mul(r, shift).FloatString(0)) // rounds
	if r.Quo(r, shift); whole && r.Num().IsInt64() {
		return int(r.Num().Int64())
	}
	f, _ := r.Float64()
	return f
}

// toFloat returns a number as a float64, and whether it is whole by its type.
func toFloat(v any) (x float64, whole, ok bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true, true
	case float64:
		return v, false, true
	case json.Number:
		x, err := v.Float64()
		return x, !strings.ContainsAny(string(v), ".eE"), err == nil || math.IsInf(x, 0)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(r.Int()), true, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return float64(r.Uint()), true, true
	case reflect.Float32, reflect.Float64:
		return r.Float(), false, true
	}
	return 0, false, false
}
