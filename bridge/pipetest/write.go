package pipetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// fields are keys with values, as they are written in YAML on one line.
type fields []string

func (f *fields) add(key string, value any) { *f = append(*f, key+": "+inYAML(value)) }

// inYAML writes a text, or a map of texts, so that it is read as it is.
func inYAML(value any) string {
	if all, is := value.(map[string]string); is {
		var f fields
		for _, key := range slices.Sorted(maps.Keys(all)) {
			f = append(f, quoted(key)+": "+inYAML(all[key]))
		}
		return f.String()
	}
	text := strings.ReplaceAll(value.(string), "${", "$${")
	if strings.ContainsAny(text, `"\`) && !strings.ContainsFunc(text, hidden) {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return quoted(text)
}

// quoted writes a text between double quotes: every JSON text is YAML, but for some characters.
func quoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text)
	return printable(strings.TrimSuffix(b.String(), "\n"))
}

// hidden reports whether YAML does not take a character as it is.
func hidden(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\ufffe' ||
		r == '\uffff'
}

// printable escapes in JSON what YAML does not take.
func printable(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (f *fields) addText(key string, text *string) {
	if text != nil {
		f.add(key, *text)
	}
}

func (f *fields) String() string { return "{" + strings.Join(*f, ", ") + "}" }

// addContent writes what a message has; if like is not nil, in its form, and what it has not is
// left out.
func (f *fields) addContent(topic string, payload []byte, header map[string]string, like *content) {
	if like == nil && topic != "" || like != nil && like.Topic != nil {
		f.add("topic", topic)
	}
	if like == nil && len(header) > 0 || like != nil && like.Header != nil {
		f.add("header", header)
	}
	var compact bytes.Buffer
	isJSON := len(payload) > 0 && (payload[0] == '{' || payload[0] == '[') && json.Compact(&compact, payload) == nil
	switch {
	case like != nil && like.Payload == nil && like.JSON == nil && like.Base64 == nil && like.File == "":
	case len(payload) > mostInline:
		f.add("file", payloadFile(payload))
	case isJSON && (like == nil || like.JSON != nil) && sameInYAML(compact.Bytes()):
		*f = append(*f, "json: "+printable(compact.String()))
	default:
		f.addPayload(payload, like != nil && like.Base64 != nil)
	}
}

// addPayload writes a payload byte for byte.
func (f *fields) addPayload(payload []byte, encoded bool) {
	switch {
	case len(payload) > mostInline:
		f.add("file", payloadFile(payload))
	case plainText(payload) && !encoded:
		f.add("payload", string(payload))
	default:
		f.add("base64", base64.StdEncoding.EncodeToString(payload))
	}
}

// mostInline is how large a payload may be that is written into a file with tests, which is bounded
// itself.
const mostInline = 4 << 10

// payloadFile names the file of a payload, beside the one with tests.
func payloadFile(payload []byte) string {
	sum := sha256.Sum256(payload)
	return "payloads/" + hex.EncodeToString(sum[:8])
}

// savePayload writes the file of a payload that has one, into the folder of the tests.
func savePayload(dir string, payload []byte) error {
	if len(payload) <= mostInline {
		return nil
	}
	name := payloadFile(payload)
	folder, err := owned.OpenRoot(dir)
	if err == nil {
		err = errors.Join(folder.MkdirAll(filepath.Dir(name), 0o755), folder.Close()) // as the folder of the tests may be
	}
	if err == nil {
		err = owned.WriteFile(filepath.Join(dir, name), payload, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write payload: %w", err)
	}
	return nil
}

// sameInYAML reports whether YAML, with what a configuration fills in, takes JSON for the same.
func sameInYAML(compact []byte) bool {
	text := string(compact)
	for _, other := range []string{"{{", "${", `"<<"`, `\ud`, `\uD`} {
		if strings.Contains(text, other) {
			return false
		}
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(text, `\"`, `__`), `"`) {
		if len(part) > mostKey {
			return false
		}
	}
	same, ok := canonical(compact) // without what is there twice
	return ok && len(same) == len(text) && strings.Count(text, "{")+strings.Count(text, "[") < mostNested
}

// Bounds of what YAML, and a configuration, takes.
const (
	mostNested = 50
	mostKey    = 1000
)

func plainText(payload []byte) bool {
	control := func(b byte) bool { return b < ' ' && b != '\t' && b != '\n' && b != '\r' }
	return utf8.Valid(payload) && !slices.ContainsFunc(payload, control)
}

// line writes a message that a sink got; like, if not nil, is the one that was wanted in its place.
func (d delivered) line(like *arrival) string {
	var f fields
	settings := maps.Clone(d.settings)
	var form *content
	if like != nil {
		form = &like.content
		maps.DeleteFunc(settings, func(key, _ string) bool { _, wanted := like.Settings[key]; return !wanted })
	}
	f.addContent(d.Topic, d.Payload, d.Header, form)
	if len(settings) > 0 {
		f.add("settings", settings)
	}
	return f.String()
}

func (a *arrival) line() string {
	var f fields
	f.addWanted(&a.content)
	if a.Settings != nil {
		f.add("settings", a.Settings)
	}
	return f.String()
}

// addWanted writes content as it was written.
func (f *fields) addWanted(c *content) {
	f.addText("topic", c.Topic)
	if c.Header != nil {
		f.add("header", c.Header)
	}
	f.addText("payload", c.Payload)
	if payload, given, err := c.payload(); c.JSON != nil && given && err == nil {
		*f = append(*f, "json: "+printable(string(payload)))
	}
	f.addText("base64", c.Base64)
	if c.File != "" {
		f.add("file", c.File)
	}
}

func (l letter) line(like *deadLetter) string {
	var f fields
	if like == nil || like.At != nil {
		f.add("at", l.at)
	}
	if like == nil || like.Reason != nil {
		f.add("reason", l.Reason)
	}
	var form *content
	if like != nil {
		form = &like.content
	}
	f.addContent(l.Topic, l.Payload, l.Header, form)
	return f.String()
}

func (d *deadLetter) line() string {
	var f fields
	f.addText("at", d.At)
	f.addText("reason", d.Reason)
	f.addWanted(&d.content)
	return f.String()
}

// write returns the lines of an expectation of exactly what has come.
func (o *outcome) write(names map[string]string) (text []string) {
	text = append(text, "sinks:")
	for _, place := range o.sinks {
		if len(o.written[place]) == 0 {
			text = append(text, "  "+names[place]+": []")
			continue
		}
		text = append(text, "  "+names[place]+":")
		for _, d := range o.written[place] {
			text = append(text, "    - "+d.line(nil))
		}
	}
	if len(o.letters) > 0 {
		text = append(text, "dead_letters:")
		for _, l := range o.letters {
			text = append(text, "  - "+l.line(nil))
		}
	}
	l := o.ledger
	held := o.held()
	if o.failed != nil {
		held = 0
	}
	for _, c := range []struct {
		key string
		n   uint64
	}{{"filtered", l.Filtered}, {"merged", l.Merged}, {"dropped", l.Dropped}, {"held", held}} {
		if c.n > 0 {
			text = append(text, fmt.Sprintf("%s: %d", c.key, c.n))
		}
	}
	if o.failed != nil {
		var f fields
		f.add("fails", o.failed.Error())
		text = append(text, f[0])
	}
	return text
}

// savePayloads writes the files of what has come.
func (o *outcome) savePayloads(dir string) error {
	var errs []error
	for _, all := range o.written {
		for _, d := range all {
			errs = append(errs, savePayload(dir, d.Payload))
		}
	}
	for _, l := range o.letters {
		errs = append(errs, savePayload(dir, l.Payload))
	}
	return errors.Join(errs...)
}

// edit replaces the lines under a key.
type edit struct {
	at    *config.Error // the key
	lines []string
}

// update carries out edits in a file, and leaves everything else as it was.
func update(name string, edits []edit) error {
	if len(edits) == 0 {
		return nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("update tests: %w", err)
	}
	all := strings.SplitAfter(string(text), "\n")
	for _, e := range slices.Backward(edits) {
		line := []rune(all[e.at.Line-1])
		before := string(line[:e.at.Col-1])
		if strings.Trim(before, " -") != "" {
			return fmt.Errorf("update tests: %s: write expect: on a line of its own, so that it can be replaced", e.at.Place())
		}
		end := e.at.Line // the first line that is not part of it
		for i := end; i < len(all); i++ {
			content := strings.TrimLeft(all[i], " ")
			if strings.TrimSpace(content) == "" {
				continue
			}
			if len(all[i])-len(content) < e.at.Col {
				break
			}
			end = i + 1
		}
		indent := "\n" + strings.Repeat(" ", e.at.Col+1)
		with := before + "expect:" + indent + strings.Join(e.lines, indent) + "\n"
		all = slices.Replace(all, e.at.Line-1, end, with)
	}
	if err := owned.WriteFile(name, []byte(strings.Join(all, "")), 0o644); err != nil { // it is there, and keeps its mode
		return fmt.Errorf("update tests: %w", err)
	}
	return nil
}
