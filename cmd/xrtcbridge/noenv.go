package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// programs is what programs need of the environment that are started, such as plugins.
var programs = []string{"PATH", "HOME", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT", "LANG", pluginsVariable}

// loadGuessed loads the files with placeholders, and once more with other ones: what differs hangs
// on them. Connectors see no environment either.
func (k *catalog) loadGuessed(
	ctx context.Context, folders *pluginFolders, files []string,
) (c, other loaded, err error) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !slices.Contains(programs, strings.ToUpper(name)) {
			_ = os.Unsetenv(name) // there are names that cannot be, and nobody reads
		}
	}
	placeholders := func(which int) func(*config.Loader) {
		return func(l *config.Loader) { l.Placeholders = which }
	}
	second := folders.catalog(k.log)
	defer second.close()
	other, _ = second.load(ctx, files, placeholders(2))
	c, err = k.load(ctx, files, placeholders(1))
	return c, other, err
}

// Of what depends on a placeholder check says that, and of some fields in other words.
const unknownWithout = "depends on a placeholder"

var unknownFields = map[string]string{"Guarantee": "not known", "Then": "not known", "Order": "order not known"}

// doubt takes back of p what is not the same with other placeholders.
func (p *promise) doubt(others []promise) {
	for _, o := range others {
		if o.Pipeline == p.Pipeline && !o.Broken && !p.Broken {
			doubt(reflect.ValueOf(p).Elem(), reflect.ValueOf(o), "")
		}
	}
}

func doubt(v, other reflect.Value, field string) {
	switch v.Kind() {
	case reflect.String:
		if v.String() != other.String() {
			v.SetString(cmp.Or(unknownFields[field], unknownWithout))
		}
	case reflect.Bool:
		v.SetBool(v.Bool() && other.Bool())
	case reflect.Pointer:
		if !v.IsNil() && !other.IsNil() {
			doubt(v.Elem(), other.Elem(), field)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			doubt(v.Field(i), other.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if warnings, ok := reflect.TypeAssert[[]string](v); ok {
			have := other.Interface().([]string)
			v.Set(reflect.ValueOf(slices.DeleteFunc(warnings, func(w string) bool { return !slices.Contains(have, w) })))
			return
		}
		for i := range min(v.Len(), other.Len()) {
			doubt(v.Index(i), other.Index(i), field)
		}
	}
}

// writePlaceholders says what placeholders stand for.
func writePlaceholders(s std, c loaded, asJSON bool) error {
	if asJSON {
		return printJSON(s, struct {
			Placeholders []string `json:"placeholders"`
		}{append([]string{}, c.Placeholders...)})
	}
	names := ""
	if len(c.Placeholders) > 0 {
		names = ", for " + strings.Join(c.Placeholders, ", ")
	}
	_, err := fmt.Fprintf(s.out, "%s%s\n", bridge.Plural(len(c.Placeholders), "placeholder"), names)
	return err
}
