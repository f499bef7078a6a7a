// Package config reads pipelines.yaml into values of package bridge.
//
// It is strict, since a mistake that is not noticed costs messages: an unknown key, a value of the
// wrong type, a duplicate key, an unset variable are errors. All mistakes of a run are reported
// together, each with the place of the key or value and, where one can be given, a suggestion.
//
// # Values
//
// A value is read as what the key wants, never as what YAML guesses: 0123 is that text where a text
// is wanted, and not a number where a number is. Tags are refused. Anchors, aliases and merge keys
// (<<) hold within one file; what aliases stand for is bounded, and a mistake there names both
// places. Top-level keys that begin with x- are ignored, and are a place for anchors. Values may
// hold
//
//	${VAR}            the environment variable, which must be set
//	${VAR:-default}   the same, or the default if it is unset or empty
//	${VAR:?message}   the same, or a mistake that says the message
//	${list:VAR}       where a list is wanted: what commas separate in the variable, without spaces
//	                  around it, and without empty ones; :- and :? go with it
//	${file:path}      the content of the file without its last newline
//	${cred:NAME}      the same of the file NAME in $CREDENTIALS_DIRECTORY, where systemd leaves what
//	                  LoadCredential=NAME:PATH of a unit says
//	$${               the two characters ${
//
// They are filled in after parsing, so they can never change the structure. Within an expression
// what they stand for is one plain word or number.
//
// # Settings
//
// Settings of connectors are structs, filled in by the tags of their fields:
//
//	`yaml:"url"`            the key
//	`yaml:"url,required"`   it must be given
//	`yaml:"size,short"`     a value in place of the mapping is this field's
//	`yaml:"dir,path"`       a path; see below
//	`yaml:"ca,content"`     the path of a file that is read when an instance is opened, so that its
//	                        content is a part of what the settings say
//	`yaml:"not,anywhere"`   a path, unless it has no slash or begins with **/
//	`yaml:"client_id,own"`  if it comes from connections:, "-" and Env.Instance follow it
//	`yaml:",inline"`        the keys of this struct stand among those of the outer one
//	`yaml:"-"`              not a setting
//	`enum:"start|end"`      the texts that are allowed
//	`min:"1" max:"9"`       bounds of a number
//	`doc:"host:port"`       what it is for, in a line for people
//
// A path that is relative is relative to the folder of the YAML file, and to the working directory
// on a command line; a ~ in front is the home folder. With an enum, those words are no paths. Of a
// template, what stands before the first {{ is the path.
//
// Fields are of type string, bool, an integer, float64, time.Duration, [bridge.Size],
// [bridge.Secret], [bridge.URL], [bridge.Template], [bridge.Condition], [bridge.Value],
// [bridge.Fields], a struct of such, or a pointer to, a slice of, or a map by string of one of
// them. A lone value stands for a slice of one. Where a Value or Fields is the short field and the
// only one, a mapping in place of the settings is its value.
//
// A struct with a method Validate() error is asked when its keys are set; the error is one
// [bridge.KeyError] or several joined. Settings that are [bridge.Described] say what they
// guarantee, and what no other instance may use at the same time.
package config

import (
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// Loader reads configuration. Registry must be set, the rest may be zero.
// Its methods change nothing but what Sections and URLs point to.
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

	// URLs, if not nil, gets every address in the settings, for who gives them a user and a
	// password before they are used.
	URLs *[]bridge.URL

	// Stdin returns what the file "-" holds, which is standard input; nil: there is no such file.
	// It is asked more than once.
	Stdin func() ([]byte, error)

	// Placeholders, if not 0, has Load and Parse put placeholders in place of all that ${…} and
	// env() would take from the environment and from files, which are not read. They make no
	// mistake, and hide none that does not hang on them. Those of 1, 2 and 3 differ, so that what
	// is not the same with them hangs on them. What comes of it is to be looked at, not to be run.
	Placeholders int

	// Getenv returns environment variables; nil means [os.LookupEnv].
	Getenv func(name string) (string, bool)

	// World is what expressions see of the time, of chance and of the environment; a nil function
	// stands for the real thing, and Getenv for its own if that is nil.
	World expr.World
}

// Config is what one or more files say.
type Config struct {
	// Pipelines are in the order of the files.
	Pipelines []*engine.Pipeline

	// Disabled are those with enabled: false, which are right and are not to run. They may use what
	// others use.
	Disabled []*engine.Pipeline

	// Descriptions are those of pipelines, by name.
	Descriptions map[string]string

	// Fingerprints are those of the pipelines without mistakes, by name: the parts are the keys of
	// a pipeline, connections.NAME, drain_timeout, and the folder that paths are relative to.
	Fingerprints map[string]Fingerprints

	// Sections are the fingerprints of the top-level keys but for pipelines, connections and
	// drain_timeout, as far as they are given.
	Sections Fingerprints

	// Read has, for each file whose content counts, its [Content] when it was read first: the files
	// themselves, what ${file:…} and ${cred:…} stand for, and what instances read when they are opened,
	// be it there or not.
	Read map[string]string

	// Broken are those with a mistake, as far as they make sense, for people who ask what else
	// there is to say of them. They are not among the others.
	Broken []*engine.Pipeline

	// Warnings are of what is no mistake, and not what is meant, perhaps.
	Warnings Errors

	// Placeholders are what placeholders stand for, sorted: NAME, or file:PATH.
	Placeholders []string

	// FailFast asks that the failure of one pipeline stops all.
	FailFast bool

	filled []filling
}

// All returns the pipelines without mistakes, be they disabled.
func (c *Config) All() []*engine.Pipeline { return slices.Concat(c.Pipelines, c.Disabled) }

// Load reads the files as one configuration: names of pipelines and
// connections are unique across them, and every other top-level key may stand
// in one of them only. An error is [Errors] unless a file cannot be read; what
// is right beside the mistakes comes with it.
func (l Loader) Load(files ...string) (*Config, error) {
	return l.load(func(r *run) error { return r.read(files) })
}

// Parse reads text as the content of a file of that name, which need not
// exist. An error is [Errors].
func (l Loader) Parse(name string, text []byte) (*Config, error) {
	return l.load(func(r *run) error {
		r.add(name, text)
		return nil
	})
}

func (l Loader) load(read func(*run) error) (*Config, error) {
	if l.Placeholders != 0 {
		return l.guess(read)
	}
	r := l.start()
	if err := read(r); err != nil {
		return nil, err
	}
	return r.finish()
}
