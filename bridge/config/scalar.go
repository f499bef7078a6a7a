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
	if isFree(v.Type()) {
		w.free(n, v, f)
		return
	}
	w.guessed(n, v, f, func() { w.text(n, v, f) })
}

// text decodes one that is no free value.
func (w *walker) text(n *yaml.Node, v reflect.Value, f *field) {
	switch {
	case n.Kind != yaml.ScalarNode:
		w.wrong(n, v.Type(), f)
		return
	}
	switch v.Type() {
	case reflect.TypeFor[bridge.Template]():
		w.template(n, v, f)
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
		if w.shown && literal(n.Value) != "" {
			w.exposed(n, f)
			return
		}
		v.Set(reflect.ValueOf(bridge.NewSecret(text)))
	case reflect.TypeFor[bridge.URL]():
		u, err := bridge.ParseURL(text)
		if err != nil {
			w.fail(n, f.name+": "+err.Error(), urlHint(n.Value, f))
			return
		}
		if written, err := bridge.ParseURL(literal(n.Value)); w.shown && err == nil && hasPassword(written) {
			w.exposed(n, f)
			return
		}
		v.Set(reflect.ValueOf(u))
		if w.URLs != nil {
			*w.URLs = append(*w.URLs, u)
		}
	case reflect.TypeFor[bridge.Size]():
		size, err := bridge.ParseSize(text)
		if err != nil {
			w.notA(n, v, f, sizeHint(n.Value))
			return
		}
		v.SetInt(int64(size))
	case reflect.TypeFor[time.Duration]():
		d, ok := parseDuration(text)
		if !ok {
			w.notA(n, v, f, durationHint(n.Value))
			return
		}
		v.SetInt(int64(d))
	default:
		w.basic(n, v, f, text)
	}
}

var (
	bareHost  = regexp.MustCompile(`^[\w.-]*[A-Za-z][\w.-]*(:\d+)?$|^(\d+\.){3}\d+(:\d+)?$`)
	docScheme = regexp.MustCompile(`([a-z]+://)[^\s:,]*(:\d+)?`)
)

// urlHint gives the address that is meant by one without a scheme: that which the doc of the field
// has with the same port, or first.
func urlHint(text string, f *field) string {
	schemes := docScheme.FindAllStringSubmatch(f.doc, -1)
	if !bareHost.MatchString(text) || len(schemes) == 0 || !strings.HasPrefix(f.doc, schemes[0][1]) {
		return ""
	}
	scheme := schemes[0][1]
	for _, s := range schemes {
		if s[2] != "" && strings.HasSuffix(text, s[2]) {
			scheme = s[1]
		}
	}
	return "as in " + f.name + ": " + scheme + text
}

var filledIn = regexp.MustCompile(`\$\{[^}]*\}`)

// literal returns what is written in a text itself, be it as the default of a variable.
func literal(text string) string {
	return filledIn.ReplaceAllStringFunc(text, func(ref string) string {
		_, fallback, _ := strings.Cut(strings.TrimSuffix(ref, "}"), ":-")
		return fallback
	})
}

func hasPassword(u bridge.URL) bool {
	password, _ := u.User.Password()
	return password != ""
}

// exposed records that a secret is where others can read it.
func (w *walker) exposed(n *yaml.Node, f *field) {
	w.fail(n, f.name+" holds a secret, and every user of this machine can read a command line",
		"put it into the environment or a file, and write '${NAME}', '${file:path}' or '${cred:NAME}', "+
			"in quotes that keep it from the shell")
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

// noPaths are words that nobody means as the name of a file.
var noPaths = []string{"true", "false", "yes", "no", "on", "off", "none", "null", "memory", "disabled"}

// basic decodes text into a value of a basic kind. YAML's ideas of numbers and
// bools are not used: 0x10, 1_000, 0123, yes and on are refused.
func (w *walker) basic(n *yaml.Node, v reflect.Value, f *field, text string) {
	switch v.Kind() {
	case reflect.String:
		switch known := slices.Contains(f.enum, text); {
		case w.verbatim && f.path: // it is complete
		case f.path && !known && slices.Contains(noPaths, strings.ToLower(text)):
			mend := "write ./" + n.Value + " if that is its name"
			if len(f.enum) > 0 {
				mend = hint("", mend+"; allowed", f.enum)
			}
			w.fail(n, f.name+" must be a path, and "+quote(n.Value)+" does not look like one", mend)
			return
		case f.anywhere && (!strings.Contains(text, "/") || strings.HasPrefix(text, "**/")):
		case f.path && !known:
			text = w.located(n, text)
		case len(f.enum) > 0 && !known:
			w.fail(n, f.name+" cannot be "+quote(n.Value), hint(n.Value, "allowed", f.enum))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			w.notA(n, v, f, boolHint(n.Value))
			return
		}
		v.SetBool(text == "true")
	default:
		w.plainNumber(n, v, f, text)
	}
}

// plainNumber decodes a number without a unit.
func (w *walker) plainNumber(n *yaml.Node, v reflect.Value, f *field, text string) {
	form, mend := wholeNumber, "write it in plain digits, without unit, separators and leading zeros"
	if v.CanFloat() {
		form, mend = decimalNumber, ""
	}
	if !form.MatchString(text) {
		w.notA(n, v, f, numberHint(n.Value, mend))
		return
	}
	x, err := strconv.ParseFloat(text, 64)
	switch {
	case v.CanFloat():
		v.SetFloat(x)
	case v.CanInt():
		var i int64
		i, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(i)
	default:
		var u uint64
		u, err = strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(u)
	}
	if wrong := f.within(x); err != nil {
		w.fail(n, f.name+" is out of range: "+quote(n.Value), "")
	} else if wrong != "" {
		w.fail(n, f.name+" "+wrong+", not "+quote(n.Value), "")
	}
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
