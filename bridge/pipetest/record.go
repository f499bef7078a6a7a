package pipetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// Recording is what the sources of a pipeline have read, in order.
type Recording struct {
	Pipeline string
	Files    []string // with the pipeline, and those that belong to it
	Messages []Recorded
}

// Recorded is a message that a source has read.
type Recorded struct {
	At   time.Time
	From string // the place of the source, like from-2
	bridge.Message
}

// Record writes a test into a file, which it makes if it is not there: that the pipeline makes of
// the messages what it makes of them now, by a clock that shows the same times. A test that is
// written has passed as it stands there. Payloads that are large go into files in the folder
// payloads beside it. It returns the name of the test, and what was left out, and why. After an
// error the file is what it was.
func Record(ctx context.Context, name string, r Recording, o Options) (test string, left []error, err error) {
	before, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("record test: %w", err)
	}
	isNew := err != nil
	r.Messages, left = writable(r.Messages)
	if len(r.Messages) == 0 {
		return "", left, errors.New("record test: there is no message to record")
	}
	test = fmt.Sprintf("as recorded from %s at %s", r.Pipeline, r.Messages[0].At.UTC().Format("2006-01-02 15:04:05.000"))
	text, indent := "tests:\n", "  "
	switch {
	case isNew:
		if files := r.tested(name); files != "" {
			text = files + text
		}
	default:
		if text = strings.TrimRight(string(before), " \t\r\n") + "\n"; true {
			if indent, err = itemIndent(name, text); err != nil {
				return "", left, err
			}
		}
	}
	text += indent + strings.Join(r.lines(test), "\n"+indent) + "\n"
	for _, m := range r.Messages {
		if err := savePayload(filepath.Dir(name), m.Payload); err != nil {
			return "", left, err
		}
	}
	restore := func() error {
		if isNew {
			return os.Remove(name)
		}
		return owned.WriteFile(name, before, 0o600) // it is there, and keeps its mode
	}
	if err := owned.WriteFile(name, []byte(text), 0o600); err != nil {
		return "", left, errors.Join(fmt.Errorf("record test: %w", err), restore())
	}
	o.Run = regexp.MustCompile("^" + regexp.QuoteMeta(test) + "$")
	for _, o.Update = range []bool{true, false} {
		results, err := Run(ctx, name, o)
		switch {
		case err != nil:
		case len(results) != 1:
			err = errors.New("the test is not found in it: write its tests as a list with a line for each, " +
				"at the end of the file")
		case len(results[0].Failures) > 0 && (!o.Update || !results[0].Updated):
			err = errors.New(strings.Join(results[0].Failures, "\n"))
		}
		if err != nil {
			return "", left, errors.Join(fmt.Errorf("record test into %s: %w", name, err), restore())
		}
	}
	return test, left, nil
}

// writable returns the messages that a file with tests can hold.
func writable(all []Recorded) (kept []Recorded, left []error) {
	for _, m := range all {
		why := ""
		if !utf8.ValidString(m.ID + m.Topic) {
			why = "its id or topic is no UTF-8"
		}
		for k, v := range m.Header {
			switch {
			case !utf8.ValidString(k + v):
				why = "a header is no UTF-8"
			case strings.Contains(k, "${"):
				why = "the name of a header holds ${"
			}
		}
		if why != "" {
			left = append(left, fmt.Errorf("a message with the topic %.80q: %s, which a test cannot hold", m.Topic, why))
			continue
		}
		kept = append(kept, m)
	}
	return kept, left
}

// tested returns the key that names the files of the recording, if a file of tests needs that.
func (r *Recording) tested(name string) string {
	var f fields
	var names []string
	for _, file := range r.Files {
		if rel, err := relative(filepath.Dir(name), file); err == nil {
			file = rel
		}
		names = append(names, inYAML(filepath.ToSlash(file)))
	}
	own := (&file{}).tested(name)
	if len(r.Files) == 1 && same(own[0], r.Files[0]) {
		return ""
	}
	f = append(f, "files: ["+strings.Join(names, ", ")+"]\n")
	return f[0]
}

// relative is filepath.Rel for a folder and a file that may be relative to the current one.
func relative(dir, file string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// same reports whether two names are of one file.
func same(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// itemIndent returns what stands before the dashes of the tests in a file.
func itemIndent(name, text string) (string, error) {
	r := runner{name: name}
	f, err := r.decode()
	if err != nil {
		return "", err
	}
	if len(f.Tests) == 0 {
		return "", fmt.Errorf("record test into %s: there is no test in it yet: remove it, or name another file", name)
	}
	at := r.places.Error("tests.0", "", "")
	line := strings.Split(text, "\n")[at.Line-1]
	indent, _, isItem := strings.Cut(string([]rune(line)[:at.Col-1]), "-")
	if !isItem || strings.TrimSpace(indent) != "" {
		return "", fmt.Errorf("record test into %s: write its tests as a list with a line for each, "+
			"so that one can be added", name)
	}
	return indent, nil
}

// lines returns those of the test.
func (r *Recording) lines(test string) []string {
	now := r.Messages[0].At
	all := []string{
		"- name: " + inYAML(test), "  pipeline: " + inYAML(r.Pipeline),
		"  now: " + now.UTC().Format(time.RFC3339Nano), "  messages:",
	}
	for _, m := range r.Messages {
		var f fields
		if after := m.At.Sub(now).Round(time.Millisecond); after > 0 {
			f.add("after", after.String())
			now = now.Add(after)
		}
		f.add("from", m.From)
		if m.ID != "" {
			f.add("id", m.ID)
		}
		if off := m.Time.Sub(now); !m.Time.IsZero() && off.Abs() >= time.Millisecond {
			f.add("time", m.Time.UTC().Format(time.RFC3339Nano))
		}
		if m.Topic != "" {
			f.add("topic", m.Topic)
		}
		if len(m.Header) > 0 {
			f.add("header", m.Header)
		}
		f.addPayload(m.Payload, false)
		all = append(all, "    - "+f.String())
	}
	return append(all, "  end: true", "  expect: {}")
}
