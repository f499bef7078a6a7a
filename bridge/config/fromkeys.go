package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Bounds of keys, which come from a program that need not be ours.
const (
	maxFromKeys  = 1000
	maxKeyDepth  = 16
	maxKeyLength = 1000
)

var keyStep = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*)((?:\[\]|\{\})*)$`)

// FromKeys returns a function that makes settings which have these keys, as [Keys] lists them, and
// hold nothing: pointers to new structs. What is not set in a file is nil in them, and so is not in
// what [Plain] returns. An error names the key that makes no sense.
func FromKeys(keys []Key) (func() any, error) {
	if len(keys) > maxFromKeys {
		return nil, fmt.Errorf("there are more than %d keys", maxFromKeys)
	}
	rest := make([]string, len(keys))
	for i, k := range keys {
		rest[i] = k.Path
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("key %s: %w", quote(k.Path), err)
		}
	}
	t, err := structOf(keys, rest)
	if err == nil {
		_, err = shapeOf(t)
	}
	if err != nil {
		return nil, err
	}
	return func() any { return reflect.New(t).Interface() }, nil
}

// check finds what would not survive becoming a field.
func (k Key) check() error {
	steps := strings.Split(k.Path, ".")
	switch {
	case len(k.Path) > maxKeyLength || len(steps) > maxKeyDepth:
		return errors.New("is too long, or nested too deep")
	case steps[0] == connectionKey:
		return errors.New("belongs to the bridge")
	case typeOf(k.Kind) == nil:
		return fmt.Errorf("there is no kind %s", quote(k.Kind))
	case (k.Min != nil || k.Max != nil) && !isNumber(typeOf(k.Kind)):
		return errors.New("bounds are for numbers")
	case k.File && k.Kind != "" && k.Kind != "template":
		return errors.New("paths are texts or templates")
	case (k.Own || len(k.Enum) > 0) && k.Kind != "":
		return errors.New("own and enum are for texts")
	}
	for _, step := range steps {
		if m := keyStep.FindStringSubmatch(step); m == nil || len(m[2]) > 2*maxKeyDepth {
			return errors.New("a name has letters, digits, _ and -, and [] or {} behind it")
		}
	}
	for _, e := range k.Enum {
		if e == "" || strings.Contains(e, "|") || strings.ContainsFunc(e, unicode.IsControl) {
			return fmt.Errorf("enum cannot have %s", quote(e))
		}
	}
	return nil
}

// structOf makes a struct of keys, whose names from here on are rest.
func structOf(keys []Key, rest []string) (reflect.Type, error) {
	var fields []reflect.StructField
	done := make(map[string]bool)
	for i, k := range keys {
		step, _, nested := strings.Cut(rest[i], ".")
		m := keyStep.FindStringSubmatch(step)
		if done[m[1]] {
			continue
		}
		done[m[1]] = true
		var inner []Key
		var innerRest []string
		for j := i; j < len(keys); j++ {
			other, deeper, more := strings.Cut(rest[j], ".")
			switch {
			case keyStep.FindStringSubmatch(other)[1] != m[1]:
			case other != step || more != nested || !nested && j > i:
				return nil, fmt.Errorf("key %s: it is there twice, or as two things", quote(keys[j].Path))
			default:
				inner, innerRest = append(inner, keys[j]), append(innerRest, deeper)
			}
		}
		t, tag := typeOf(k.Kind), k.tag(m[1])
		if nested {
			var err error
			if t, err = structOf(inner, innerRest); err != nil {
				return nil, err
			}
			tag = Key{}.tag(m[1])
		}
		fields = append(fields, reflect.StructField{Name: "F" + strconv.Itoa(i), Type: around(t, m[2]), Tag: tag})
	}
	return reflect.StructOf(fields), nil
}

// around returns the type of lists and maps of t that marks say, or a pointer, which can say that
// it is not set.
func around(t reflect.Type, marks string) reflect.Type {
	if marks == "" {
		return reflect.PointerTo(t)
	}
	for i := len(marks); i > 0; i -= 2 {
		if marks[i-2:i] == "[]" {
			t = reflect.SliceOf(t)
		} else {
			t = reflect.MapOf(reflect.TypeFor[string](), t)
		}
	}
	return t
}

// tag returns the tag of a field with that name.
func (k Key) tag(name string) reflect.StructTag {
	for option, set := range map[string]bool{"required": k.Required, "short": k.Short, "own": k.Own, "path": k.File} {
		if set {
			name += "," + option
		}
	}
	var all strings.Builder
	add := func(key, value string) {
		if value != "" {
			all.WriteString(" " + key + ":" + strconv.Quote(value))
		}
	}
	add("yaml", name)
	add("enum", strings.Join(k.Enum, "|"))
	add("default", k.Default)
	add("doc", k.Doc)
	for key, bound := range map[string]*float64{"min": k.Min, "max": k.Max} {
		if bound != nil {
			add(key, strconv.FormatFloat(*bound, 'f', -1, 64))
		}
	}
	return reflect.StructTag(all.String())
}
