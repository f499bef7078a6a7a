package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// SourceSettings are the settings of the source.
type SourceSettings struct {
	Path    []string      `yaml:"path,required"` // patterns
	Follow  bool          `yaml:"follow"`        // stay, and read what is added
	From    string        `yaml:"from" enum:"start|end"`
	MaxLine bridge.Size   `yaml:"max_line"` // longest line allowed, without its newline
	Poll    time.Duration `yaml:"poll"`     // how often to look, with follow
	Grace   time.Duration `yaml:"grace"`    // how long a renamed or deleted file is kept open, with follow
}

func defaultSource() SourceSettings {
	return SourceSettings{From: "start", MaxLine: 1 << 20, Poll: 250 * time.Millisecond, Grace: 5 * time.Second}
}

// Validate checks each setting, and that the patterns are well-formed.
func (s SourceSettings) Validate() error {
	var c checks
	c.bad(len(s.Path) == 0, "path", "must name a file")
	for _, p := range s.Path {
		_, err := filepath.Match(p, "")
		c.bad(p == "" || err != nil, "path", "a pattern is a path with *, ? and [a-z] in it")
	}
	c.bad(s.MaxLine < 1, "max_line", "must be at least 1 byte")
	c.bad(s.Poll < time.Millisecond, "poll", "must be at least 1ms")
	c.bad(s.Grace < 0, "grace", "must not be negative")
	c.bad(s.From == "end" && !s.Follow, "from", "end needs follow: true, else there is nothing to read")
	return errors.Join(c...)
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	Path   bridge.Template `yaml:"path,required"`
	Rotate Rotate          `yaml:"rotate"`
	Sync   bool            `yaml:"sync"` // a message is delivered when it is on the disk
}

// Rotate says when a file is set aside and a new one begun. It is looked at when a
// message is written.
type Rotate struct {
	Size bridge.Size   `yaml:"size,short"` // before a file grows larger; 0 is never
	Age  time.Duration `yaml:"age"`        // when a file is older; 0 is never
	Keep int           `yaml:"keep"`       // how many to keep beside the current one; 0 is all
}

// Validate checks each setting.
func (s SinkSettings) Validate() error {
	var c checks
	text, constant := "", false
	if s.Path != nil {
		text, constant = s.Path.Constant()
	}
	c.bad(constant && text == "", "path", "must name a file")
	c.bad(constant && text != "" && os.IsPathSeparator(text[len(text)-1]), "path", "must name a file, not a folder")
	c.bad(s.Path != nil && !constant && !strings.Contains(strings.TrimPrefix(text, "/"), "/"), "path",
		"must name a folder before its first {{, such as out/ or ./, for messages choose what stands behind that")
	c.bad(s.Rotate.Size < 0, "rotate.size", "must not be negative")
	c.bad(s.Rotate.Age < 0, "rotate.age", "must not be negative")
	c.bad(s.Rotate.Keep < 0, "rotate.keep", "must not be negative; 0 keeps all")
	c.bad(s.Rotate.Keep > 0 && s.Rotate.Size == 0 && s.Rotate.Age == 0, "rotate.keep", "needs size or age")
	return errors.Join(c...)
}

type checks []error

func (c *checks) bad(is bool, key, text string) {
	if is {
		*c = append(*c, &bridge.KeyError{Key: key, Err: errors.New(text)})
	}
}
