package step

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed schema.yaml
var schemaExample string

// Schema returns the connector schema, a step that lets the messages pass whose JSON payload fits a
// JSON Schema, as github.com/santhosh-tekuri/jsonschema understands it: drafts 4 to 2020-12, the
// last one where $schema names none.
//
// # Settings
//
// path is a file with the schema, or inline is the schema itself. $ref reaches what is in the
// folder of the file and below it, and for inline nothing but itself; there is no network. With
// formats, format is asserted, where it is but a note in drafts from 2019-09 on. What is wrong with
// a schema is a mistake of the file; unknown keywords are not, since drafts allow them.
//
// # Errors
//
// A message is refused that does not fit, or whose payload is not one JSON value. The reason has up
// to three places as JSON pointers, each with the keyword that it does not meet, and nothing else
// of the message: * stands for a name that the schema does not have. Of a payload with tens of
// thousands of values, or nested a thousand deep, it says only that it does not fit.
//
// What would take long is refused, too: numbers with very many digits or an exponent beyond 1,000,
// and a payload of which schemas would have to look at values more than 65,536 times and twice for
// each of its bytes: those that try alternatives within alternatives may double that with each
// level.
func Schema() bridge.Connector {
	return bridge.Connector{
		Name:     "schema",
		Summary:  "refuses messages whose JSON payload does not fit a JSON Schema",
		Delivery: "what fits goes on as it is; what does not is refused, see on_error",
		Example:  schemaExample,
		Step:     bridge.NewOpener(schemaSettings{}, openSchema),
	}
}

type schemaSettings struct {
	Path    string       `yaml:"path,short,content" doc:"a JSON file with the schema; $ref reaches its folder and what is below"`
	Inline  bridge.Value `yaml:"inline" doc:"the schema itself, in place of path"`
	Formats bool         `yaml:"formats" doc:"whether format is asserted in drafts from 2019-09 on, too"`

	reads []string // once it is valid
}

// Describe says that a message that comes again is the same one.
func (s *schemaSettings) Describe() bridge.Description {
	d := repeats()
	d.Reads = s.reads
	return d
}

// Validate compiles the schema.
func (s *schemaSettings) Validate() error {
	if (s.Path == "") == (s.Inline == nil) {
		return errors.New("schema wants either path or inline")
	}
	_, err := s.compile()
	return err
}

var errNoFile = errors.New("it is not a file")

// schemaBase stands for the folder of a schema, so that addresses are alike on all systems.
const schemaBase = "schema:///"

func (s *schemaSettings) compile() (*schema, error) {
	made := &schema{names: make(map[string]bool)}
	files := &schemaFiles{names: made.names}
	key, name := "path", filepath.Base(s.Path)
	if s.Inline != nil {
		key, name = "inline", "inline"
		text, err := json.Marshal(s.Inline)
		if err != nil {
			return nil, bridge.KeyErrorf(key, "%w", err)
		}
		if bytes.Contains(text, []byte("{{")) {
			return nil, bridge.KeyErrorf(key, "a schema is the same for all messages, and cannot hold {{ }}")
		}
		if files.inline, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
			return nil, bridge.KeyErrorf(key, "%w", err)
		}
	} else {
		folder, err := os.OpenRoot(filepath.Dir(s.Path))
		if err != nil {
			return nil, bridge.KeyErrorf(key, "%w", err)
		}
		defer func() { _ = folder.Close() }()
		files.folder = folder
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(files)
	if s.Formats {
		c.AssertFormat()
	}
	// A vocabulary hears of all schemas, and a format is what a schema asks before it goes on to
	// others: there their visits are counted.
	var all []*jsonschema.Schema
	c.RegisterVocabulary(&jsonschema.Vocabulary{
		URL: "schema:visits",
		Compile: func(ctx *jsonschema.CompilerContext, _ map[string]any) (jsonschema.SchemaExt, error) {
			all = append(all, ctx.Enqueue(nil))
			return nil, nil //nolint:nilnil // no keywords here
		},
	})
	c.AssertVocabs()
	var err error
	address := schemaBase + url.PathEscape(name)
	if made.schema, err = c.Compile(address); err != nil {
		return nil, schemaMistake(key, err)
	}
	s.reads = files.read
	err = c.AddResource("unfit:///", map[string]any{"not": map[string]any{"$ref": address}})
	if err == nil {
		made.unfit, err = c.Compile("unfit:///")
	}
	for _, one := range all {
		format := one.Format
		one.Format = &jsonschema.Format{Validate: func(v any) error {
			made.visit()
			if format == nil {
				return nil
			}
			return format.Validate(v)
		}}
		if format != nil {
			one.Format.Name = format.Name
		}
	}
	return made, err
}

// schemaMistake says where in the schema the mistake is.
func schemaMistake(key string, err error) error {
	if e, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		if at, ok := errors.AsType[*fs.PathError](e.Err); ok {
			e.Err = at.Err // it has the name of a system call
		}
		return bridge.KeyErrorf(key, "read %s: %w", strings.TrimPrefix(e.URL, schemaBase), e.Err)
	}
	wrong, ok := errors.AsType[*jsonschema.SchemaValidationError](err)
	if !ok {
		return bridge.KeyErrorf(key, "%s", strings.ReplaceAll(err.Error(), schemaBase, ""))
	}
	e, ok := errors.AsType[*jsonschema.ValidationError](wrong.Err)
	if !ok {
		return bridge.KeyErrorf(key, "%w", wrong.Err)
	}
	first := unfit(e)[0]
	last := first // of alternatives, one says more than that none is met
	for len(last.Causes) > 0 {
		last = last.Causes[0]
	}
	meant := last.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	file, _, _ := strings.Cut(strings.TrimPrefix(wrong.URL, schemaBase), "#")
	if key == "inline" {
		if file == key {
			key = strings.Join(append([]string{key}, first.InstanceLocation...), ".")
		}
		return bridge.KeyErrorf(key, "it is no valid JSON Schema: %s", meant)
	}
	return bridge.KeyErrorf(key, "%s is no valid JSON Schema: %s: %s", file, pointer(first.InstanceLocation), meant)
}

// schemaFiles loads what schemas refer to, and notes the names in it.
type schemaFiles struct {
	inline any
	folder *os.Root
	names  map[string]bool
	read   []string // files
}

func (f *schemaFiles) Load(address string) (any, error) {
	path, below := strings.CutPrefix(address, schemaBase)
	path, err := url.PathUnescape(path)
	switch {
	case err != nil || !below:
		return nil, errors.New("only files in the folder of the schema, and below it, are read")
	case f.folder == nil && path != "inline":
		return nil, errors.New("an inline schema refers to nothing but itself; write it to a file, and path")
	case f.folder == nil:
		f.note(f.inline)
		return f.inline, nil
	}
	// Opening a device may do something, and a pipe, which may be there a moment later, would wait.
	if info, err := f.folder.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	file, err := f.folder.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errNoFile)
	}
	f.read = append(f.read, filepath.Join(f.folder.Name(), path))
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	value, err := decodeJSON(text)
	if err != nil {
		if at, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(text, new(any))); ok {
			before := text[:min(max(at.Offset-1, 0), int64(len(text)))]
			return nil, fmt.Errorf("line %d is not JSON: %w", 1+bytes.Count(before, []byte("\n")), at)
		}
		return nil, errors.New("it is not one JSON value")
	}
	f.note(value)
	return value, nil
}

// note notes the names in a schema, which its author knows.
func (f *schemaFiles) note(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, item := range v {
			f.names[name] = true
			f.note(item)
		}
	case []any:
		for _, item := range v {
			f.note(item)
		}
	}
}

func openSchema(_ context.Context, s *schemaSettings, _ bridge.Env) (bridge.Step, error) {
	made, err := s.compile()
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	return made, nil
}

type schema struct {
	schema *jsonschema.Schema
	unfit  *jsonschema.Schema // what does not fit schema, which is found out without saying where
	names  map[string]bool
	left   int // visits
}

const errVisits = visitsError("schemas would look at its values too many times")

type visitsError string

func (e visitsError) Error() string { return string(e) }

// visit ends check when there were too many: the library has no other way out.
func (s *schema) visit() {
	if s.left--; s.left < 0 {
		panic(errVisits)
	}
}

func (s *schema) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i := range batch {
		if err := s.check(batch[i].Payload); err != nil {
			out.Refuse(i, fmt.Errorf("schema: %w", err))
		} else {
			out.Pass(i)
		}
	}
	return nil
}

func (*schema) Close() error { return nil }

func (s *schema) check(payload []byte) (err error) {
	value, err := decodeJSON(payload)
	if err != nil {
		return err
	}
	var size load
	if err := size.add(value, 1); err != nil {
		return err
	}
	s.left = 1<<16 + 2*len(payload)
	defer func() {
		if e := recover(); e == errVisits {
			err = errVisits
		} else if e != nil {
			panic(e)
		}
	}()
	if s.unfit.Validate(value) != nil {
		return nil
	}
	if size.depths+48*size.values > 2<<20 { // names on the way to all of them, and what an error takes
		return errors.New("the payload does not fit, and is too large to say where")
	}
	err = s.schema.Validate(value)
	e, unfitting := errors.AsType[*jsonschema.ValidationError](err)
	if !unfitting {
		return err
	}
	const most = 3
	var places []string
	for _, one := range unfit(e) {
		places = append(places, s.pointer(value, one.InstanceLocation)+": "+keyword(one))
	}
	slices.Sort(places)
	places = slices.Compact(places)
	more := ""
	if n := len(places) - most; n > 0 {
		places, more = places[:most], fmt.Sprintf("; and %d more", n)
	}
	return errors.New(strings.Join(places, "; ") + more)
}

// load is what a value costs, about.
type load struct {
	digits int // squares of those of long numbers, which is how long it takes to compare them
	values int
	depths int // of all values
}

func (l *load) add(v any, depth int) error {
	l.values++
	l.depths += depth
	switch v := v.(type) {
	case json.Number:
		n := len(v)
		if _, text, has := strings.Cut(strings.ToLower(string(v)), "e"); has {
			exponent, err := strconv.Atoi(text) // a few bytes may stand for a million digits
			if err != nil || exponent < -1000 || exponent > 1000 {
				return errors.New("a number has an exponent beyond 1000")
			}
			n += max(exponent, -exponent)
		}
		if l.digits += n / 8 * (n / 8); l.digits > 1<<24 {
			return errors.New("its numbers have too many digits")
		}
	case []any:
		for _, item := range v {
			if err := l.add(item, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := l.add(item, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// unfit returns the places that do not fit. Of alternatives that is where they stand, since none of
// them need have been meant.
func unfit(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains, *kind.MinContains, *kind.PropertyNames:
		return []*jsonschema.ValidationError{e}
	}
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, unfit(cause)...)
	}
	return all
}

// keyword says what is not met, with what the schema says of it, and nothing of the value.
func keyword(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return "required " + strings.Join(k.Missing, ", ")
	case *kind.Type:
		return "type " + strings.Join(slices.Sorted(slices.Values(k.Want)), " or ")
	case *kind.Format:
		return "format " + k.Want
	}
	if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
		return path[0]
	}
	return "false" // the schema that nothing fits
}

// pointer returns the JSON pointer of a place in value, without the names that the schema does not
// have.
func (s *schema) pointer(value any, path []string) string {
	path = slices.Clone(path)
	for i, name := range path {
		switch v := value.(type) {
		case []any:
			if k, err := strconv.Atoi(name); err == nil && k < len(v) {
				value = v[k]
			}
		case map[string]any:
			if value = v[name]; !s.names[name] {
				path[i] = "*"
			}
		}
	}
	return pointer(path)
}

func pointer(path []string) string {
	if len(path) == 0 {
		return "the payload"
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, name := range path {
		b.WriteString("/" + escape.Replace(name))
	}
	return b.String()
}
