package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// object is a JSON object.
type object = map[string]any

// Schema returns a JSON Schema, of draft 2020-12, of the files that the Loader reads with the
// connectors of its Registry. sections is a pointer to a struct of settings that has the Sections
// as fields.
//
// What the schema refuses, the Loader refuses, too. It finds unknown keys, missing ones, and values
// of another type; what only the Loader can tell, it lets pass: expressions, how settings go
// together, ${…} in place of anything.
func (l Loader) Schema(sections any) ([]byte, error) {
	s := &schemer{run: l.start(), defs: make(object)}
	file := s.structure(reflect.ValueOf(&fileKeys{}).Elem(), nil)
	more := s.structure(reflect.ValueOf(sections).Elem(), nil)
	maps.Copy(file["properties"].(object), more["properties"].(object))
	file["patternProperties"] = object{"^x-": object{"description": "ignored: a place for anchors"}}
	file["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	file["title"] = "XRTC Bridge"
	file["description"] = "Pipelines that move messages from sources to sinks."
	file["$defs"] = s.defs
	text, err := json.MarshalIndent(file, "", "  ")
	return append(text, '\n'), err
}

// schemer makes schemas.
type schemer struct {
	*run
	defs   object
	within []reflect.Type // around what is looked at
}

// ref returns a reference to a definition, which build makes if there is none.
func (s *schemer) ref(name string, build func() object) object {
	if _, made := s.defs[name]; !made {
		s.defs[name] = nil // build may refer to it
		s.defs[name] = build()
	}
	return object{"$ref": "#/$defs/" + name}
}

// shapeOf panics as [Keys] does.
func (s *schemer) shapeOf(t reflect.Type) *shape {
	made, err := s.shape(t)
	if err != nil {
		panic(err)
	}
	return made
}

func formOf(t reflect.Type) form {
	f, _ := reflect.TypeAssert[form](reflect.Zero(t))
	return f
}

// key returns the schema of the value of a key, whose default is v.
func (s *schemer) key(f *field, v reflect.Value) object {
	o := s.value(f, v)
	if o["description"] = f.doc; f.doc == "" {
		o["description"] = keyType(f)
	}
	text := cmp.Or(defaultText(v), f.fallback)
	switch {
	case text == "" || formOf(v.Type()) != nil:
	case innermost(v.Type()).Kind() == reflect.Bool:
		o["default"] = text == "true"
	case isNumber(innermost(v.Type())):
		o["default"] = json.Number(text)
	default:
		o["default"] = text
	}
	return o
}

// value returns the schema of what is decoded into v, as [walker.value] does that.
func (s *schemer) value(f *field, v reflect.Value) object {
	t := v.Type()
	if form := formOf(t); form != nil {
		return form.schema(s)
	}
	switch {
	case isScalar(t):
		return s.scalar(t, f)
	case t.Kind() == reflect.Pointer:
		return s.value(f, pointed(v))
	case t.Kind() == reflect.Slice:
		item := s.value(f, pointed(v))
		list := object{"type": "array", "items": item}
		if f.required {
			list["minItems"] = 1
		}
		return object{"anyOf": []object{item, list}}
	case t.Kind() == reflect.Map:
		its := *f
		its.required = false
		return object{"type": "object", "additionalProperties": s.value(&its, pointed(v))}
	case slices.Contains(s.within, t):
		return object{"type": "object"}
	}
	all := s.forms(v, s.structure(v, nil))
	if len(f.enum) > 0 {
		all = append(all, object{"enum": enumValues(f.enum)})
	}
	if len(all) == 1 {
		return all[0]
	}
	return object{"anyOf": all}
}

// forms returns o, the schema of the mapping v, with that of the value in place of it if there is
// one that says all that is required.
func (s *schemer) forms(v reflect.Value, o object) []object {
	shape := s.shapeOf(v.Type())
	short := shape.short
	if shape.free() {
		return []object{s.key(short, v.FieldByIndex(short.index))}
	}
	if short == nil || slices.ContainsFunc(shape.required(), func(key string) bool { return key != short.name }) {
		return []object{o}
	}
	return []object{o, s.key(short, v.FieldByIndex(short.index))}
}

// structure returns the schema of a mapping of settings, of the keys allowed if that is not nil.
func (s *schemer) structure(v reflect.Value, allowed []string) object {
	shape := s.shapeOf(v.Type())
	s.within = append(s.within, v.Type())
	defer func() { s.within = s.within[:len(s.within)-1] }()
	properties := make(object)
	for i := range shape.fields {
		if f := &shape.fields[i]; allowed == nil || slices.Contains(allowed, f.name) {
			properties[f.name] = s.key(f, v.FieldByIndex(f.index))
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required := shape.required(); len(required) > 0 && allowed == nil {
		o["required"] = required
	}
	return o
}

// Forms of texts, in the regular expressions that JSON Schema has. Each has ${…} in place of
// anything.
const (
	filledForm   = `\$\{`
	wholeForm    = `^-?(0|[1-9][0-9]*)$|` + filledForm
	decimalForm  = `^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$|` + filledForm
	boolForm     = `^(true|false)$|` + filledForm
	sizeForm     = `^\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(([kKmMgGtT][iI]?)?[bB])?\s*$|` + filledForm
	urlForm      = `^[A-Za-z][A-Za-z0-9+.-]*:/|` + filledForm
	durationForm = `^([0-9]+(\.[0-9]+)?[wd])*([+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+))?$|` +
		filledForm
)

// scalar returns the schema of what is written as one text, as [walker.scalar] reads it.
func (s *schemer) scalar(t reflect.Type, f *field) object {
	kind := cmp.Or(kindOf(t), "text")
	if len(f.enum) > 0 && kind == "text" {
		other := object{"type": "string", "pattern": filledForm}
		if f.path {
			other = s.ref(kind, func() object { return scalarSchema(kind) })
		}
		return object{"anyOf": []object{{"enum": enumValues(f.enum)}, other}}
	}
	o := s.ref(kind, func() object { return scalarSchema(kind) })
	if f.min != nil {
		o["minimum"] = *f.min
	}
	if f.max != nil {
		o["maximum"] = *f.max
	}
	return o
}

// scalarSchema returns the schema of a [Key.Kind]. A number or true in place of a text is one, as
// YAML has it without quotes.
func scalarSchema(kind string) object {
	switch kind {
	case "text", "secret", "template", "condition":
		return object{"type": []string{"string", "number", "boolean"}}
	case "url":
		return object{"type": "string", "pattern": urlForm}
	case "duration": // 0 needs no unit
		return object{
			"type": []string{"string", "integer"}, "pattern": durationForm, "minLength": 1, "minimum": 0,
			"maximum": 0,
		}
	case "size":
		return object{"type": []string{"string", "number"}, "pattern": sizeForm, "minimum": 0}
	case "bool":
		return object{"type": []string{"boolean", "string"}, "pattern": boolForm}
	case "number":
		return object{"type": []string{"number", "string"}, "pattern": decimalForm}
	case "integer", "int8", "int16", "int32":
		return object{"type": []string{"integer", "string"}, "pattern": wholeForm}
	case "uint", "uint8", "uint16", "uint32", "uint64":
		return object{"type": []string{"integer", "string"}, "pattern": wholeForm, "minimum": 0}
	case "fields":
		return object{"type": "object"}
	}
	return object{} // anything
}

// enumValues returns words, with what YAML may take them for.
func enumValues(words []string) []any {
	var all []any
	for _, word := range words {
		all = append(all, word)
		if word == "true" || word == "false" {
			all = append(all, word == "true")
		}
		if n, err := strconv.Atoi(word); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func (m pipelineMap) schema(s *schemer) object {
	one := s.ref("pipeline", func() object { return s.value(&field{}, reflect.ValueOf(&pipelineKeys{}).Elem()) })
	return object{
		"type": "object", "additionalProperties": one, "propertyNames": object{"pattern": pipelineName.String()},
	}
}

func (sourceEntry) schema(s *schemer) object {
	return s.ref("source", func() object { return entrySchema(s, source, &besideSource{}) })
}

func (stepEntry) schema(s *schemer) object {
	return s.ref("step", func() object { return entrySchema(s, step, &besideStep{}) })
}

func (letterEntry) schema(s *schemer) object {
	return s.ref("dead_letter", func() object { return entrySchema(s, sink, &struct{}{}) })
}

func (sinkEntry) schema(s *schemer) object {
	return s.ref("sink", func() object {
		o := entrySchema(s, sink, &besideSink{})
		entry := o["anyOf"].([]object)[1]
		modes := s.structure(reflect.ValueOf(&modeKeys{}).Elem(), nil)["properties"].(object)
		for _, name := range slices.Sorted(maps.Keys(modes)) {
			mode := modes[name].(object)
			list := mode["anyOf"].([]object)[1] // a lone entry does not stand for a list
			list["description"], list["minItems"] = mode["description"], 1
			entry["properties"].(object)[name] = list
			entry["oneOf"] = append(entry["oneOf"].([]object), object{"required": []string{name}})
		}
		entry["dependentRequired"] = object{"by": []string{"share"}}
		return o
	})
}

// entrySchema returns the schema of {CONNECTOR: settings} with the keys of beside, and of CONNECTOR
// alone, as [document.entry] takes that apart.
func entrySchema[T any](s *schemer, r role[T], beside any) object {
	entry := s.structure(reflect.ValueOf(beside).Elem(), nil)
	var alone []string // of which there need not be settings
	var one []object
	for _, name := range having(s.Registry, r) {
		c, _ := s.Registry.Lookup(name)
		v := reflect.ValueOf(r.opener(c).Settings()).Elem()
		if len(s.shapeOf(v.Type()).required()) == 0 {
			alone = append(alone, name)
		}
		entry["properties"].(object)[name] = s.ref(r.name+"."+name,
			func() object { return settingsSchema(s, c, v) })
		one = append(one, object{"required": []string{name}})
	}
	entry["oneOf"] = one
	return object{"anyOf": []object{{"enum": alone}, entry}}
}

// settingsSchema returns the schema of the settings v of a connector, as [document.settings] reads
// them.
func settingsSchema(s *schemer, c bridge.Connector, v reflect.Value) object {
	o, shape := s.structure(v, nil), s.shapeOf(v.Type())
	required := shape.required()
	if shared(c) && len(shape.fields) > 0 && shape.byName[connectionKey] == nil {
		o["properties"].(object)[connectionKey] = object{
			"type": "string", "description": "the connection whose settings are taken over",
		}
		_, common, _ := s.connectionSettings(c) // the error is that of shapeOf
		o["if"] = object{"not": object{"required": []string{connectionKey}}}
		o["then"] = object{"required": append([]string{}, required...)}
		o["required"] = slices.DeleteFunc(append([]string{}, required...),
			func(key string) bool { return slices.Contains(common, key) })
	}
	settings := object{"description": c.Summary, "anyOf": s.forms(v, o)}
	if len(required) == 0 {
		settings["anyOf"] = append(s.forms(v, o), object{"type": "null"})
	} else {
		settings["not"] = object{"type": "null"} // which may be a value
	}
	return settings
}

func (connectionEntry) schema(s *schemer) object {
	entry := object{"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false}
	properties := make(object)
	for _, name := range s.Registry.Names() {
		c, _ := s.Registry.Lookup(name)
		settings, common, _ := s.connectionSettings(c)
		if settings == nil {
			continue
		}
		properties[name] = s.ref("connection."+name, func() object {
			o := s.structure(reflect.ValueOf(settings).Elem(), common)
			return object{"description": c.Summary, "anyOf": []object{o, {"type": "null"}}}
		})
	}
	entry["properties"] = properties
	return object{"anyOf": []object{{"enum": slices.Sorted(maps.Keys(properties))}, entry}}
}
