package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// shape is what the tags of a struct of settings say.
type shape struct {
	fields  []field // with those of inline structs
	byName  map[string]*field
	short   *field  // nil if there is none
	inlines [][]int // indices of the inline structs
}

// field is one key of settings.
type field struct {
	name     string
	index    []int // for reflect.Value.FieldByIndex
	typ      reflect.Type
	required bool
	short    bool
	own      bool
	path     bool
	anywhere bool // it is one only if it says of which folder
	content  bool // it is one of a file that is read
	enum     []string
	fallback string // the default as help shows it, if the settings do not hold it
	doc      string
	min, max *float64 // of a number
}

// shapeOf reads the tags of a struct type. An error is a mistake of whoever
// wrote the type.
func shapeOf(t reflect.Type) (*shape, error) {
	s := &shape{byName: make(map[string]*field)}
	if err := s.add(t, nil); err != nil {
		return nil, err
	}
	for i := range s.fields {
		f := &s.fields[i]
		if s.byName[f.name] != nil {
			return nil, fmt.Errorf("settings type %s has the key %q twice", t, f.name)
		}
		s.byName[f.name] = f
		if f.short {
			s.short = f
		}
	}
	return s, nil
}

func (s *shape) add(t reflect.Type, index []int) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(slices.Clip(index), i)
		tag, tagged := sf.Tag.Lookup("yaml")
		name, options, _ := strings.Cut(tag, ",")
		inline := options == "inline" && sf.Type.Kind() == reflect.Struct
		switch {
		case !sf.IsExported() && !tagged || tag == "-":
			continue
		case !tagged, !sf.IsExported() && (!inline || !sf.Anonymous), name == "" && !inline:
			return fmt.Errorf("settings type %s, field %s: an exported field with a yaml tag that names its key is "+
				"wanted", t, sf.Name)
		case inline:
			s.inlines = append(s.inlines, at)
			if err := s.add(sf.Type, at); err != nil {
				return err
			}
			continue
		}
		if !supported(sf.Type) {
			return fmt.Errorf("settings type %s, field %s: the type %s is not supported", t, sf.Name, sf.Type)
		}
		f := field{name: name, index: at, typ: sf.Type, fallback: sf.Tag.Get("default"), doc: sf.Tag.Get("doc")}
		if err := f.options(options); err != nil {
			return fmt.Errorf("settings type %s, field %s: %w", t, sf.Name, err)
		}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, "|")
		}
		if err := f.bounds(sf.Tag); err != nil {
			return fmt.Errorf("settings type %s, field %s: %w", t, sf.Name, err)
		}
		s.fields = append(s.fields, f)
	}
	return nil
}

// bounds reads the tags min and max.
func (f *field) bounds(tag reflect.StructTag) error {
	for name, to := range map[string]**float64{"min": &f.min, "max": &f.max} {
		text, ok := tag.Lookup(name)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !isNumber(innermost(f.typ)) {
			return fmt.Errorf("the tag %s is a number, for numbers", name)
		}
		*to = &x
	}
	return nil
}

// innermost returns the type that pointers, lists and maps are of.
func innermost(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// within returns what is wrong with x, empty if nothing is.
func (f *field) within(x float64) string {
	switch {
	case f.min != nil && x < *f.min:
		return "must be at least " + strconv.FormatFloat(*f.min, 'f', -1, 64)
	case f.max != nil && x > *f.max:
		return "must be at most " + strconv.FormatFloat(*f.max, 'f', -1, 64)
	}
	return ""
}

func (f *field) options(list string) error {
	known := map[string]*bool{
		"": new(bool), "required": &f.required, "short": &f.short, "own": &f.own, "path": &f.path, "anywhere": &f.anywhere,
		"content": &f.content,
	}
	for o := range strings.SplitSeq(list, ",") {
		if known[o] == nil {
			return fmt.Errorf("unknown option %q in its yaml tag", o)
		}
		*known[o] = true
	}
	f.path = f.path || f.anywhere || f.content
	if f.own && innermost(f.typ).Kind() != reflect.String {
		return errors.New("the option own is for texts")
	}
	return nil
}

// free reports whether a mapping in place of the settings is the value of their only key.
func (s *shape) free() bool { return s.short != nil && len(s.fields) == 1 && isFree(s.short.typ) }

func (s *shape) names() []string {
	all := make([]string, len(s.fields))
	for i, f := range s.fields {
		all[i] = f.name
	}
	return all
}

func (s *shape) required() (names []string) {
	for _, f := range s.fields {
		if f.required {
			names = append(names, f.name)
		}
	}
	return names
}

// shape returns the shape of t, remembered.
func (r *run) shape(t reflect.Type) (*shape, error) {
	if s := r.shapes[t]; s != nil {
		return s, nil
	}
	s, err := shapeOf(t)
	if err == nil {
		r.shapes[t] = s
	}
	return s, err
}
