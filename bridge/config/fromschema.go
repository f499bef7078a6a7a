package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Bounds of a schema, which comes from a program that need not be ours.
const (
	maxSchema      = 1 << 20 // bytes
	maxSchemaDepth = 16
	maxProperties  = 1000 // in all
)

// FromSchema returns a function that makes settings of a JSON Schema as [Schema] writes it: pointers to new structs that hold the
// defaults. Understood are type, properties, required, default, enum, items, additionalProperties, minimum, maximum and format, and
// what only describes; see connectors/plugin/pluginpb/connector.proto. An error names the place in the schema.
func FromSchema(schema []byte) (func() any, error) {
	if len(schema) > maxSchema {
		return nil, fmt.Errorf("read schema: it has more than %d bytes", maxSchema)
	}
	d := json.NewDecoder(bytes.NewReader(schema))
	d.UseNumber()
	root, err := decodeOrdered(d, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more than one JSON value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	o, ok := root.(*object)
	if !ok {
		return nil, errors.New("read schema: it is not a JSON object")
	}
	r := schemaReader{quiet: &walker{document: &document{run: Loader{}.start()}, quiet: true}}
	t, init, err := r.mapping("settings", o)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if t.Kind() != reflect.Struct {
		return nil, errors.New("read schema: settings must have properties")
	}
	return func() any {
		p := reflect.New(t)
		init(p.Elem())
		return p.Interface()
	}, nil
}

// object is a JSON object with the order of its keys.
type object struct {
	keys   []string
	values map[string]any
}

// decodeOrdered decodes one JSON value: *object, []any, string, json.Number, bool or nil.
func decodeOrdered(d *json.Decoder, depth int) (any, error) {
	if depth > 2*maxSchemaDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxSchemaDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := &object{values: make(map[string]any)}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ := key.(string)
			value, err := decodeOrdered(d, depth+1)
			if err != nil {
				return nil, err
			}
			if _, twice := o.values[name]; twice {
				return nil, fmt.Errorf("the key %q is there twice", name)
			}
			o.keys = append(o.keys, name)
			o.values[name] = value
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := decodeOrdered(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

// understood are the keywords of a schema. Those that only describe are ignored.
var (
	understood = []string{
		"type", "properties", "required", "default", "enum", "items", "additionalProperties", "minimum", "maximum", "format",
		"x-short", "x-own", "x-optional", "x-kind",
	}
	describing = []string{
		"$schema", "$id", "$comment", "title", "description", "examples", "deprecated", "readOnly", "writeOnly",
	}
	propertyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
)

type schemaReader struct {
	properties int // read so far
	quiet      *walker
}

// set puts the default into a new value.
type set func(v reflect.Value)

// mapping reads the schema of an object: a struct, or a map if any key is allowed.
func (r *schemaReader) mapping(path string, o *object) (reflect.Type, set, error) {
	if typ, ok := o.values["type"].(string); ok && typ != "object" || !ok && o.values["type"] != nil {
		return nil, nil, fmt.Errorf(`%s: type must be "object"`, path)
	}
	if err := keywords(path, o); err != nil {
		return nil, nil, err
	}
	if more, ok := o.values["additionalProperties"].(*object); ok && o.values["properties"] == nil {
		elem, _, err := r.value(path+".NAME", more)
		if err != nil {
			return nil, nil, err
		}
		return reflect.MapOf(reflect.TypeFor[string](), elem), nil, nil
	}
	if more := o.values["additionalProperties"]; more != nil && more != false {
		return nil, nil, fmt.Errorf("%s: additionalProperties must be false beside properties", path)
	}
	properties, ok := o.values["properties"].(*object)
	if !ok && o.values["properties"] != nil {
		return nil, nil, fmt.Errorf("%s: properties must be an object", path)
	}
	if properties == nil {
		properties = new(object)
	}
	required, err := texts(path+": required", o.values["required"])
	if err != nil {
		return nil, nil, err
	}
	for _, name := range required {
		if _, there := properties.values[name]; !there {
			return nil, nil, fmt.Errorf("%s: required names %q, which is no property", path, name)
		}
	}
	var fields []reflect.StructField
	var sets []set
	short := false
	for i, name := range properties.keys {
		f, init, err := r.property(path, name, properties.values[name], slices.Contains(required, name))
		if err != nil {
			return nil, nil, err
		}
		if strings.Contains(f.Tag.Get("yaml"), ",short") {
			if short {
				return nil, nil, fmt.Errorf("%s: two properties have x-short", path)
			}
			short = true
		}
		f.Name = "F" + strconv.Itoa(i)
		fields, sets = append(fields, f), append(sets, init)
	}
	return reflect.StructOf(fields), func(v reflect.Value) {
		for i, init := range sets {
			if init != nil {
				init(v.Field(i))
			}
		}
	}, nil
}

// property reads one property, all but the name of its field.
func (r *schemaReader) property(path, name string, value any, required bool) (f reflect.StructField, init set, err error) {
	path += "." + name
	o, ok := value.(*object)
	switch {
	case !propertyName.MatchString(name):
		return f, nil, fmt.Errorf("%s: a key has letters, digits, _ and -", strconv.QuoteToASCII(path))
	case name == connectionKey:
		return f, nil, fmt.Errorf("%s: this key belongs to the bridge", path)
	case !ok:
		return f, nil, fmt.Errorf("%s: it must be an object", path)
	}
	if r.properties++; r.properties > maxProperties {
		return f, nil, fmt.Errorf("there are more than %d properties", maxProperties)
	}
	f.Type, init, err = r.value(path, o)
	if err != nil {
		return f, nil, err
	}
	tag := name
	if required {
		tag += ",required"
	}
	if o.values["x-short"] == true {
		tag += ",short"
	}
	if o.values["x-own"] == true {
		if f.Type.Kind() != reflect.String {
			return f, nil, fmt.Errorf("%s: x-own is for texts", path)
		}
		tag += ",own"
	}
	var full strings.Builder
	fmt.Fprintf(&full, `yaml:"%s"`, tag)
	inner := o // the enum of a list or map is that of its entries
	for inner.values["enum"] == nil {
		next, ok := inner.values["items"].(*object)
		if !ok {
			if next, ok = inner.values["additionalProperties"].(*object); !ok {
				break
			}
		}
		inner = next
	}
	enum, err := texts(path+": enum", inner.values["enum"])
	if err != nil {
		return f, nil, err
	}
	for _, e := range enum {
		if e == "" || strings.ContainsAny(e, "|\"\\`") || strings.ContainsFunc(e, unicode.IsControl) {
			return f, nil, fmt.Errorf("%s: enum cannot have %s", path, strconv.QuoteToASCII(e))
		}
	}
	if len(enum) > 0 {
		fmt.Fprintf(&full, ` enum:"%s"`, strings.Join(enum, "|"))
	}
	for keyword, name := range map[string]string{"minimum": "min", "maximum": "max"} {
		n, ok := o.values[keyword].(json.Number)
		if ok && !isNumber(f.Type) || !ok && o.values[keyword] != nil {
			return f, nil, fmt.Errorf("%s: %s is a number, for numbers", path, keyword)
		}
		if x, err := n.Float64(); ok && err == nil {
			fmt.Fprintf(&full, ` %s:"%s"`, name, strconv.FormatFloat(x, 'f', -1, 64))
		}
	}
	f.Tag = reflect.StructTag(full.String())
	if o.values["default"] != nil {
		def, err := r.fallback(path, f, o.values["default"])
		return f, def, err
	}
	return f, init, nil
}

// value reads the schema of a value.
func (r *schemaReader) value(path string, o *object) (t reflect.Type, init set, err error) {
	if err := keywords(path, o); err != nil {
		return nil, nil, err
	}
	switch typ, _ := o.values["type"].(string); typ {
	case "string":
		t = reflect.TypeFor[string]()
		for special, format := range formats {
			if o.values["format"] == format {
				t = special
			}
		}
	case "boolean":
		t = reflect.TypeFor[bool]()
	case "number":
		t = reflect.TypeFor[float64]()
	case "integer":
		t = integerType(o.values["x-kind"])
	case "array":
		items, ok := o.values["items"].(*object)
		if !ok {
			return nil, nil, fmt.Errorf("%s: an array needs items", path)
		}
		if t, _, err = r.value(path+"[]", items); err == nil {
			t = reflect.SliceOf(t)
		}
	case "object":
		t, init, err = r.mapping(path, o)
	default:
		return nil, nil, fmt.Errorf("%s: type must be one of string, boolean, integer, number, array and object", path)
	}
	if err == nil && o.values["x-optional"] == true {
		return reflect.PointerTo(t), nil, nil
	}
	return t, init, err
}

func integerType(kind any) reflect.Type {
	for _, t := range []reflect.Type{
		reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
		reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
	} {
		if kind == t.Kind().String() {
			return t
		}
	}
	return reflect.TypeFor[int]()
}

// fallback returns what sets the default of a property, read as a value in a file would be.
func (r *schemaReader) fallback(path string, f reflect.StructField, value any) (set, error) {
	n, err := toNode(value)
	if err != nil {
		return nil, fmt.Errorf("%s: default: %w", path, err)
	}
	f.Name = "F0"
	shape, err := shapeOf(reflect.StructOf([]reflect.StructField{f}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	v := reflect.New(f.Type).Elem()
	before := r.quiet.failed
	r.quiet.value(n, v, &shape.fields[0])
	if r.quiet.failed > before {
		return nil, fmt.Errorf("%s: the default is not %s", path, typeName(f.Type))
	}
	return func(to reflect.Value) { to.Set(v) }, nil
}

// toNode makes the node that a file would have.
func toNode(value any) (*yaml.Node, error) {
	switch v := value.(type) {
	case string:
		return textNode(strings.ReplaceAll(v, "${", "$${")), nil
	case json.Number:
		return textNode(v.String()), nil
	case bool:
		return textNode(strconv.FormatBool(v)), nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v {
			child, err := toNode(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case *object:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range v.keys {
			child, err := toNode(v.values[key])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, textNode(key), child)
		}
		return n, nil
	}
	return nil, errors.New("null is no value")
}

// keywords refuses those that would be lost.
func keywords(path string, o *object) error {
	for _, k := range o.keys {
		if !slices.Contains(understood, k) && !slices.Contains(describing, k) && !strings.HasPrefix(k, "x-") {
			return fmt.Errorf("%s: the keyword %s is not understood; these are: %s", path, strconv.QuoteToASCII(k), names(understood))
		}
	}
	return nil
}

// texts reads a list of texts, which may be absent.
func texts(what string, value any) ([]string, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s must be a list of texts", what)
	}
	var all []string
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%s must be a list of texts", what)
		}
		all = append(all, text)
	}
	return all, nil
}
