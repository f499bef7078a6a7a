package config

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// scalar decodes a value that is written as one text.
func (w *walker) scalar(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind != yaml.ScalarNode {
		w.wrong(n, v.Type(), f)
		return
	}
	switch v.Type() {
	case reflect.TypeFor[bridge.Template]():
		w.template(n, v)
		return
	case reflect.TypeFor[bridge.Condition]():
		w.condition(n, v)
		return
	}
	text, ok := w.expand(n, expr.Part{Text: n.Value})
	if !ok {
		return
	}
	switch v.Type() {
	case reflect.TypeFor[bridge.Secret]():
		v.Set(reflect.ValueOf(bridge.NewSecret(text)))
	case reflect.TypeFor[bridge.URL]():
		u, err := bridge.ParseURL(text)
		if err != nil {
			w.fail(n, f.name+": "+err.Error(), "")
			return
		}
		v.Set(reflect.ValueOf(u))
	case reflect.TypeFor[bridge.Size]():
		size, err := bridge.ParseSize(text)
		w.number(n, v, f, int64(size), err == nil, "units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB")
	case reflect.TypeFor[time.Duration]():
		d, ok := parseDuration(text)
		w.number(n, v, f, int64(d), ok, durationHint(text))
	default:
		w.basic(n, v, f, text)
	}
}

// number sets v to i if it is what was wanted.
func (w *walker) number(n *yaml.Node, v reflect.Value, f *field, i int64, ok bool, hint string) {
	if !ok {
		w.notA(n, v, f, hint)
		return
	}
	v.SetInt(i)
}

// notA records that the text of n is not what v wants. It quotes what is
// written, not what a ${…} in it stands for.
func (w *walker) notA(n *yaml.Node, v reflect.Value, f *field, hint string) {
	w.fail(n, f.name+" must be "+typeName(v.Type())+", not "+quote(n.Value), hint)
}

var (
	wholeNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimalNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
)

// basic decodes text into a value of a basic kind. YAML's ideas of numbers and
// bools are not used: 0x10, 1_000, 0123, yes and on are refused.
func (w *walker) basic(n *yaml.Node, v reflect.Value, f *field, text string) {
	switch v.Kind() {
	case reflect.String:
		if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
			w.fail(n, f.name+" cannot be "+quote(n.Value), hint(text, "allowed", f.enum))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			w.notA(n, v, f, boolHint(text))
			return
		}
		v.SetBool(text == "true")
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !decimalNumber.MatchString(text) {
			w.notA(n, v, f, "")
			return
		}
		if wrong := f.within(x); wrong != "" {
			w.fail(n, f.name+" "+wrong+", not "+quote(n.Value), "")
			return
		}
		v.SetFloat(x)
	default:
		w.integer(n, v, f, text)
	}
}

func (w *walker) integer(n *yaml.Node, v reflect.Value, f *field, text string) {
	if !wholeNumber.MatchString(text) {
		w.notA(n, v, f, "write it in plain digits, without unit, separators and leading zeros")
		return
	}
	if v.CanInt() {
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			w.fail(n, f.name+" is out of range: "+quote(n.Value), "")
			return
		}
		if wrong := f.within(float64(i)); wrong != "" {
			w.fail(n, f.name+" "+wrong+", not "+quote(n.Value), "")
			return
		}
		v.SetInt(i)
		return
	}
	u, err := strconv.ParseUint(text, 10, v.Type().Bits())
	if err != nil {
		w.fail(n, f.name+" is out of range: "+quote(n.Value), "")
		return
	}
	if wrong := f.within(float64(u)); wrong != "" {
		w.fail(n, f.name+" "+wrong+", not "+quote(n.Value), "")
		return
	}
	v.SetUint(u)
}

func boolHint(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "true", "1":
		return "write true"
	case "no", "off", "n", "false", "0":
		return "write false"
	}
	return ""
}

var days = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// parseDuration parses what time.ParseDuration does and days before that:
// 1.5s, 2h30m, 7d, 1d12h. It must not be negative.
func parseDuration(text string) (time.Duration, bool) {
	var whole time.Duration
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		whole, text = time.Duration(n)*24*time.Hour, m[2]
		if text == "" {
			return whole, true
		}
	}
	d, err := time.ParseDuration(text)
	return whole + d, err == nil && d >= 0 && whole+d >= 0
}

func durationHint(text string) string {
	if wholeNumber.MatchString(text) {
		return "add a unit: ms, s, m, h or d"
	}
	return "units are ms, s, m, h and d"
}
