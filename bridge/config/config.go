// Package config reads pipelines.yaml into values of package bridge.
//
// It is strict, since a mistake that is not noticed costs messages: an unknown
// key, a value of the wrong type, a duplicate key, an unset variable are
// errors. All mistakes of a run are reported together, each with the place of
// the key or value and, where one can be given, a suggestion.
//
// # Values
//
// A value is read as what the key wants, never as what YAML guesses: 0123 is
// that text where a text is wanted, and not a number where a number is.
// Anchors, aliases, merge keys and tags are refused. Values may hold
//
//	${VAR}            the environment variable, which must be set
//	${VAR:-default}   the same, or the default if it is unset or empty
//	${file:path}      the content of the file without its last newline; a
//	                  relative path is relative to the folder of the YAML file
//	$${               the two characters ${
//
// They are filled in after parsing, so they can never change the structure.
// Within an expression what they stand for is one plain word or number.
//
// # Settings
//
// Settings of connectors are structs, filled in by the tags of their fields:
//
//	`yaml:"url"`            the key
//	`yaml:"url,required"`   it must be given
//	`yaml:"size,short"`     a value in place of the mapping is this field's
//	`yaml:"client_id,own"`  if it comes from connections:, "-" and Env.Instance follow it
//	`yaml:",inline"`        the keys of this struct stand among those of the outer one
//	`yaml:"-"`              not a setting
//	`enum:"start|end"`      the texts that are allowed
//	`min:"1" max:"9"`       bounds of a number
//
// Fields are of type string, bool, an integer, float64, time.Duration,
// [bridge.Size], [bridge.Secret], [bridge.URL], [bridge.Template],
// [bridge.Condition], a struct of such, or a pointer to, a slice of, or a map
// by string of one of them. A lone value stands for a slice of one.
//
// A struct with a method Validate() error is asked when its keys are set; the
// error is one [bridge.KeyError] or several joined. Settings that are [bridge.Described]
// say what they guarantee, and what no other instance may use at the same time.
package config

import (
	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Loader reads configuration. Registry must be set, the rest may be zero.
// Its methods change nothing but what Sections points to.
type Loader struct {
	// Registry has the connectors that pipelines may use.
	Registry *bridge.Registry

	// Sections maps further top-level keys to pointers to structs of settings.
	// A struct whose key is absent is left as it is.
	Sections map[string]any

	// ServersKey is the key of the section that makes a file worth running without a pipeline;
	// empty if there is none.
	ServersKey string

	// PluginsKey is the key of the section that Prepare and Find are about.
	PluginsKey string

	// Prepare, if not nil, is called when that section is filled in without a mistake and before
	// pipelines are read, and may add to Registry. Its error is one [bridge.KeyError] or several
	// joined, with keys like "plugins.NAME.path".
	Prepare func() error

	// Find, if not nil, is called for a connector that Registry does not have, once for each name,
	// and may add it there. Its error says why it cannot be used; nil and nothing added means that
	// there is none.
	Find func(connector string) error

	// Getenv returns environment variables; nil means [os.LookupEnv].
	Getenv func(name string) (string, bool)
}

// Config is what one or more files say.
type Config struct {
	// Pipelines are in the order of the files.
	Pipelines []*bridge.Pipeline

	// FailFast asks that the failure of one pipeline stops all.
	FailFast bool
}

// Load reads the files as one configuration: names of pipelines and
// connections are unique across them, and every other top-level key may stand
// in one of them only. An error is [Errors] unless a file cannot be read.
func (l Loader) Load(files ...string) (*Config, error) {
	r := l.start()
	for _, name := range files {
		text, err := readFile(name)
		if err != nil {
			return nil, err
		}
		r.add(name, text)
	}
	return r.finish()
}

// Parse reads text as the content of a file of that name, which need not
// exist. An error is [Errors].
func (l Loader) Parse(name string, text []byte) (*Config, error) {
	r := l.start()
	r.add(name, text)
	return r.finish()
}
