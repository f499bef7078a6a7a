package pipetest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// file is a NAME_test.yaml.
type file struct {
	Files []string          `yaml:"files,path" doc:"what is tested, together; not given: NAME.yaml beside NAME_test.yaml"`
	Env   map[string]string `yaml:"env" doc:"environment variables, before those that are set"`
	Tests []test            `yaml:"tests,required" doc:"the tests"`
}

type test struct {
	Name     string                `yaml:"name,required" doc:"says what is expected, in words"`
	Pipeline string                `yaml:"pipeline" doc:"the pipeline; may be left out if there is one only"`
	Now      string                `yaml:"now" doc:"the time at which it begins, like 2026-01-01T00:00:00Z, which is the default"`
	Sinks    map[string]*behaviour `yaml:"sinks" doc:"what sinks do that is not to take everything"`
	Messages []input               `yaml:"messages,required" doc:"what the sources read, in order"`
	End      bool                  `yaml:"end" doc:"true: then the input ends, and steps let go of what they hold"`
	Expect   expectation           `yaml:"expect,required" doc:"what is to come of it"`

	names map[string]string // of sinks, as the test calls them, by place
}

// behaviour is what a sink does.
type behaviour struct {
	Fail   *failing         `yaml:"fail" doc:"writing fails, in a way that may pass"`
	Refuse bridge.Condition `yaml:"refuse" doc:"messages that the sink can never take"`
}

type failing struct {
	Times int           `yaml:"times" min:"1" doc:"so many writes fail"`
	For   time.Duration `yaml:"for" doc:"all fail, from the beginning on for this long"`
}

// Validate checks that something is said.
func (f failing) Validate() error {
	if f.Times == 0 && f.For <= 0 {
		return bridge.KeyErrorf("times", "how often, or for how long it fails must be given: write {times: 2} or {for: 1m}")
	}
	return nil
}

// content is what a message consists of, and what is said of one.
type content struct {
	Topic   *string           `yaml:"topic" doc:"its topic"`
	Payload *string           `yaml:"payload" doc:"its payload as text"`
	JSON    bridge.Value      `yaml:"json" doc:"its payload as JSON; order and spaces do not count, digits do"`
	Base64  *string           `yaml:"base64" doc:"its payload in base64"`
	File    string            `yaml:"file,path" doc:"the file that is its payload"`
	Header  map[string]string `yaml:"header" doc:"all its headers"`

	read []byte // what is in File, once it was read
}

// payload returns the payload, if there is one.
func (c *content) payload() (payload []byte, given bool, err error) {
	forms := 0
	for _, is := range []bool{c.Payload != nil, c.JSON != nil, c.Base64 != nil, c.File != ""} {
		if is {
			forms++
		}
	}
	switch {
	case forms > 1:
		return nil, false, bridge.KeyErrorf("payload", "a payload is given by one of payload, json, base64 and file")
	case c.Payload != nil:
		return []byte(*c.Payload), true, nil
	case c.JSON != nil:
		if payload, err = c.JSON.AppendJSON(nil, new(bridge.Message)); err != nil {
			return nil, false, &bridge.KeyError{Key: "json", Err: err}
		}
	case c.Base64 != nil:
		if payload, err = base64.StdEncoding.DecodeString(*c.Base64); err != nil {
			return nil, false, bridge.KeyErrorf("base64", "this is no base64")
		}
	case c.File != "" && c.read == nil:
		if payload, err = bridge.ReadRegular(c.File, mostInput); err != nil {
			return nil, false, &bridge.KeyError{Key: "file", Err: err}
		}
		c.read = payload
	case c.File != "":
		payload = c.read
	}
	return payload, forms > 0, nil
}

// input is a message to be read, several, or none if only time is to pass.
type input struct {
	After   time.Duration `yaml:"after" doc:"how much time passes before"`
	From    string        `yaml:"from" doc:"the source; may be left out if there is one only"`
	ID      string        `yaml:"id" doc:"its identity, if the source has one"`
	Time    string        `yaml:"time" doc:"its time; not given: the time of the test"`
	Lines   string        `yaml:"lines,path" doc:"the file whose lines are the payloads of messages"`
	content `yaml:",inline"`

	payloads [][]byte
	at       time.Time
}

const mostInput = 256 << 20 // bytes of a file

// Validate reads what is to be read.
func (in *input) Validate() error {
	payload, given, err := in.payload()
	switch {
	case err != nil:
		return err
	case in.After < 0:
		return bridge.KeyErrorf("after", "must not be negative")
	case given && in.Lines != "":
		return bridge.KeyErrorf("lines", "a payload is given by one of payload, json, base64, file and lines")
	case given || in.Topic != nil || in.Header != nil || in.ID != "" || in.Time != "":
		in.payloads = [][]byte{payload}
	case in.After == 0 && in.Lines == "":
		return errors.New("this is no message: write topic, payload or json, or after: 1m to let time pass")
	}
	if in.Time != "" {
		if in.at, err = time.Parse(time.RFC3339Nano, in.Time); err != nil {
			return bridge.KeyErrorf("time", "this is no time like 2026-01-01T00:00:00Z")
		}
	}
	return in.readLines()
}

// readLines reads the payloads that are lines of a file.
func (in *input) readLines() error {
	if in.Lines == "" {
		return nil
	}
	text, err := bridge.ReadRegular(in.Lines, mostInput)
	if err != nil {
		return &bridge.KeyError{Key: "lines", Err: err}
	}
	in.payloads = nil
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		in.payloads = append(in.payloads, slices.Clone(lines.Bytes()))
	}
	return nil
}

// expectation is what is to come of the messages of a test.
type expectation struct {
	Sinks       map[string]*arrivals `yaml:"sinks" doc:"what each sink gets; those that are not named then get nothing"`
	DeadLetters []deadLetter         `yaml:"dead_letters" doc:"what is put aside, in order; not given: nothing"`
	Filtered    *int                 `yaml:"filtered" min:"0" doc:"how many messages steps and conditions leave out"`
	Merged      *int                 `yaml:"merged" min:"0" doc:"how many messages go into others that steps make of them"`
	Dropped     *int                 `yaml:"dropped" min:"0" doc:"how many messages on_error drops; not given: none"`
	Refused     *int                 `yaml:"refused" min:"0" doc:"how many messages are refused, be they dropped or put aside"`
	Held        *int                 `yaml:"held" min:"0" doc:"how many messages have come nowhere yet; not given: none"`
	Fails       *string              `yaml:"fails" doc:"a part of the reason why the pipeline stops; not given: it does not"`
}

// arrivals are what a sink gets.
type arrivals struct {
	Messages []arrival `yaml:"messages,short" doc:"each message, with what is to be compared of it"`
	AnyOrder bool      `yaml:"any_order" doc:"true: they come in any order"`
	Count    *int      `yaml:"count" min:"0" doc:"how many there are"`
}

// Validate checks that something is said.
func (a *arrivals) Validate() error {
	if a.Messages == nil && a.Count == nil {
		return errors.New("this expects nothing: write a list of messages, [] for none, or count")
	}
	return nil
}

type arrival struct {
	content  `yaml:",inline"`
	Settings map[string]string `yaml:"settings" doc:"what templates among the settings of the sink make of it: {subject: a.b}"`
}

// Validate checks that something is said.
func (a *arrival) Validate() error {
	if a.Settings == nil && a.empty() {
		return errors.New("this expects nothing of the message: write its topic, payload or json")
	}
	_, _, err := a.payload()
	return err
}

type deadLetter struct {
	content `yaml:",inline"`
	Reason  *string `yaml:"reason" doc:"a part of the reason"`
	At      *string `yaml:"at" doc:"the place that refused it, as the log names it: step-2, to"`
}

// Validate checks that something is said.
func (d *deadLetter) Validate() error {
	if d.Reason == nil && d.At == nil && d.empty() {
		return errors.New("this expects nothing of the dead letter: write its reason, topic, payload or json")
	}
	_, _, err := d.payload()
	return err
}

func (c *content) empty() bool {
	return c.Topic == nil && c.Payload == nil && c.JSON == nil && c.Base64 == nil && c.File == "" && c.Header == nil
}

// Validate checks that the test asserts something.
func (t *test) Validate() error {
	if t.Now != "" {
		if _, err := time.Parse(time.RFC3339Nano, t.Now); err != nil {
			return bridge.KeyErrorf("now", "this is no time like 2026-01-01T00:00:00Z")
		}
	}
	return nil
}

// asserts reports whether anything is expected.
func (e *expectation) asserts() bool {
	return len(e.Sinks) > 0 || e.DeadLetters != nil || e.Filtered != nil || e.Merged != nil || e.Dropped != nil ||
		e.Refused != nil || e.Held != nil || e.Fails != nil
}

const suffix = "_test"

// Find returns the files with tests that a name stands for: a file with tests, a file with
// pipelines that has one beside it, or a folder that has some in it. If it is to look deep, those
// below count, too, but for folders whose name begins with a point.
func Find(name string, deep bool) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("find tests: %w", err)
	}
	extension := filepath.Ext(name)
	base := strings.TrimSuffix(name, extension)
	switch {
	case info.IsDir():
		all, err := within(name, deep)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("find tests: there is no file NAME%s.yaml in the folder %s", suffix, name)
		}
		return all, err
	case strings.HasSuffix(base, suffix):
		return []string{name}, nil
	}
	for _, other := range []string{extension, ".yaml", ".yml"} {
		if _, err := os.Stat(base + suffix + other); err == nil {
			return []string{base + suffix + other}, nil
		}
	}
	return nil, fmt.Errorf("find tests: there is no file %s beside %s", base+suffix+extension, name)
}

// within returns the files with tests in a folder, which may be a link to one.
func within(folder string, deep bool) (all []string, err error) {
	folder = filepath.Clean(folder) + string(filepath.Separator)
	err = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		switch base := filepath.Base(name); {
		case e != nil && e.IsDir() && name != folder && (!deep || base[0] == '.' || errors.Is(err, fs.ErrPermission)):
			return fs.SkipDir
		case err != nil:
			return fmt.Errorf("find tests: %w", err)
		case !e.IsDir() && (strings.HasSuffix(base, suffix+".yaml") || strings.HasSuffix(base, suffix+".yml")):
			all = append(all, name)
		}
		return nil
	})
	return all, err
}

// tested returns the files with the pipelines that a file tests.
func (f *file) tested(name string) []string {
	if len(f.Files) > 0 {
		return f.Files
	}
	extension := filepath.Ext(name)
	base := strings.TrimSuffix(strings.TrimSuffix(name, extension), suffix)
	for _, other := range []string{extension, ".yaml", ".yml"} {
		if _, err := os.Stat(base + other); err == nil {
			return []string{base + other}
		}
	}
	return []string{base + extension}
}
