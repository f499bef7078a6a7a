package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// Fingerprints tell two configurations apart part by part, and hold nothing of what they say: the
// keys are parts, the values hashes of them as they are meant, with what ${…}, aliases and merge
// keys stand for and the content of the files that are read when an instance is opened. Comments,
// the order of pipelines and the description of one are no part of it.
type Fingerprints map[string]string

// Changed returns the parts that are not the same in both, sorted.
func (f Fingerprints) Changed(to Fingerprints) (parts []string) {
	all := maps.Clone(f)
	if all == nil {
		all = make(Fingerprints)
	}
	maps.Copy(all, to)
	for part := range all {
		if f[part] != to[part] {
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return parts
}

// Fingerprint is the hash of texts.
func Fingerprint(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		write(h, t)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func write(h hash.Hash, text string) { _, _ = fmt.Fprintf(h, "%d:%s", len(text), text) }

// mostContent is the most that is read of a file for its fingerprint.
const mostContent = 16 << 20

// Content is the fingerprint of what is in a file, or of why that cannot be read, as in
// [Config.Read].
func Content(name string) string {
	text, err := bridge.ReadRegular(name, mostContent)
	if err != nil {
		return Fingerprint(string(text), err.Error())
	}
	return Fingerprint(string(text))
}

// readFile is [bridge.ReadRegular] of a file whose content counts.
func (r *run) readFile(name string, most bridge.Size) ([]byte, error) {
	text, err := bridge.ReadRegular(name, most)
	if _, known := r.config.Read[name]; !known && err == nil {
		r.config.Read[name] = Fingerprint(string(text))
	} else if !known {
		r.config.Read[name] = Content(name)
	}
	return text, err
}

// stands notes that what a text in n means hangs on text, too.
func (r *run) stands(n *yaml.Node, text string) {
	if !slices.Contains(r.meant[n], text) {
		r.meant[n] = append(r.meant[n], text)
	}
}

// noteContent notes that what n means hangs on the content of a file.
func (r *run) noteContent(n *yaml.Node, name string) {
	text, err := r.readFile(name, mostContent)
	if err != nil { // who opens it will tell
		text = []byte(err.Error())
	}
	r.stands(n, Fingerprint(name, string(text)))
}

// noteContents notes the files that settings name whose content is read.
func (r *run) noteContents(n *yaml.Node, v reflect.Value) {
	switch {
	case r.guesses != nil || isScalar(v.Type()):
	case v.Kind() == reflect.Pointer && !v.IsNil():
		r.noteContents(n, v.Elem())
	case v.Kind() == reflect.Slice:
		for _, item := range v.Seq2() {
			r.noteContents(n, item)
		}
	case v.Kind() == reflect.Struct:
		s, err := r.shape(v.Type())
		if err != nil {
			return // reported before
		}
		for _, f := range s.fields {
			switch at := v.FieldByIndex(f.index); {
			case !f.content:
				r.noteContents(n, at)
			case at.String() != "":
				r.noteContent(n, at.String())
			}
		}
	}
}

// fingerprints returns those of a pipeline.
func (d *document) fingerprints(n *yaml.Node) Fingerprints {
	f := Fingerprints{"drain_timeout": fmt.Sprint(max(d.drain, 0)), "folder": d.dir}
	if d.drain == 0 {
		f["drain_timeout"] = engine.DefaultDrainTimeout.String()
	}
	d.pairs(n, func(key, value *yaml.Node) {
		if key.Value != "description" && key.Value != "enabled" {
			f[key.Value] = d.fingerprint(value, f)
		}
	})
	return f
}

// fingerprint returns that of a node, and adds those of connections that it names to f.
func (d *document) fingerprint(n *yaml.Node, f Fingerprints) string {
	h := sha256.New()
	d.digest(h, n, f)
	return hex.EncodeToString(h.Sum(nil))
}

func (d *document) digest(h hash.Hash, n *yaml.Node, f Fingerprints) {
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	write(h, fmt.Sprint(n.Kind, n.ShortTag(), quoted, len(n.Content)))
	write(h, n.Value)
	write(h, strings.Join(slices.Sorted(slices.Values(d.meant[n])), "\x00"))
	for i, c := range n.Content {
		d.digest(h, c, f)
		if f == nil || n.Kind != yaml.MappingNode || i%2 == 0 || n.Content[i-1].Value != connectionKey {
			continue
		}
		if used := d.connections[c.Value]; used != nil {
			f["connections."+c.Value] = Fingerprint(used.name.doc.dir, d.fingerprint(used.value, nil))
		}
	}
}
