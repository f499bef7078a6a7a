package file

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// SourceSettings are the settings of the source.
type SourceSettings struct {
	Path        []string      `yaml:"path,required,path" doc:"patterns; what is packed by gzip or zstd is unpacked"`
	Exclude     []string      `yaml:"exclude,anywhere" doc:"patterns of what is left out"`
	IgnoreOlder time.Duration `yaml:"ignore_older" doc:"leave files out that were not written for so long; 0: none"`
	Follow      bool          `yaml:"follow" doc:"stay, and read what is added"`
	From        string        `yaml:"from" enum:"start|end" doc:"where to begin with a file that is there at the start; end needs follow"`
	Codec       framing.Codec `yaml:"codec" doc:"what a message is, of the bytes that are read"`
	Encoding    string        `yaml:"encoding" doc:"of the text, by its name on the web; empty: bytes pass unchanged"`
	MaxLine     bridge.Size   `yaml:"max_line" doc:"longest message allowed, without its newline"`
	LongLines   string        `yaml:"long_lines" enum:"refuse|truncate" doc:"refuse a line above max_line, or cut it and deliver its beginning"`
	FlushAfter  time.Duration `yaml:"flush_after" doc:"after which a last line needs no newline, with follow; 0: never"`
	Poll        time.Duration `yaml:"poll" doc:"how often to look, with follow"`
	Grace       time.Duration `yaml:"grace" doc:"how long a renamed or deleted file is kept open, with follow"`
}

func defaultSource() SourceSettings {
	return SourceSettings{
		From: "start", Codec: framing.DefaultCodec(), MaxLine: 1 << 20, LongLines: "refuse", Poll: 250 * time.Millisecond,
		Grace: 5 * time.Second,
	}
}

// Validate checks each setting, and that the patterns are well-formed.
func (s SourceSettings) Validate() error {
	var c checks
	c.bad(len(s.Path) == 0, "path", "must name a file")
	for key, patterns := range map[string][]string{"path": s.Path, "exclude": s.Exclude} {
		c.bad(slices.ContainsFunc(patterns, malformed), key, "a pattern is a path with *, **, ?, [a-z] and {a,b} in it")
	}
	kind := s.Codec.Kind
	charset, err := newCharset(s.Encoding)
	c.bad(len(charset.newline) > 1 && kind != "lines" && kind != "whole" || s.Encoding != "" &&
		charset.encoding != nil && kind == "json",
		"encoding", "cannot be read with codec: %s", kind)
	c.bad(s.LongLines == "truncate" && (kind == "csv" || kind == "json"), "long_lines",
		"of codec: %s nothing can be cut off", kind)
	c.bad(kind == "whole" && s.Follow && s.FlushAfter == 0, "flush_after",
		"must say after which time without a change a file is whole, with codec: whole and follow: true")
	c.bad(err != nil, "encoding", "is not known: write it as web pages do, such as utf-16le, windows-1252 or shift_jis")
	c.bad(s.MaxLine < 1, "max_line", "must be at least 1 byte")
	c.bad(s.Poll < time.Millisecond, "poll", "must be at least 1ms")
	c.bad(s.From == "end" && !s.Follow, "from", "end needs follow: true, else there is nothing to read")
	c.bad(s.FlushAfter > 0 && !s.Follow, "flush_after", "needs follow: true; else a last line needs no newline")
	return errors.Join(c...)
}

func malformed(pattern string) bool {
	return pattern == "" || !doublestar.ValidatePathPattern(pattern)
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	Path bridge.Template `yaml:"path,required,path" doc:"the file; what stands before the first {{ is its folder, which no message leaves"`

	framing.Form `yaml:",inline"`

	Rotate Rotate `yaml:"rotate" doc:"when a file is set aside, and a new one begun"`
	Mode   string `yaml:"mode" doc:"of new files, in octal digits; empty: 0600, and 0700 of folders"`
	Sync   bool   `yaml:"sync" doc:"a message is delivered when it is on the disk"`
}

// mode returns what the settings say, 0 if nothing.
func (s SinkSettings) mode() (fs.FileMode, error) {
	if s.Mode == "" {
		return 0, nil
	}
	m, err := strconv.ParseUint(s.Mode, 8, 9)
	if err == nil && m&0o600 != 0o600 {
		err = errors.New("the bridge must be able to read and write")
	}
	return fs.FileMode(m), err
}

// Rotate says when a file that is not empty is set aside and a new one begun.
type Rotate struct {
	Size bridge.Size   `yaml:"size,short" doc:"before a file grows larger; 0 is never"`
	Age  time.Duration `yaml:"age" doc:"when a file is older; 0 is never"`
	At   string        `yaml:"at" doc:"every day at that time, in the local zone: \"00:00\""`
	Keep int           `yaml:"keep" min:"0" doc:"how many to keep beside the current one; 0 is all"`
}

const clock = "15:04"

// since returns when a file must have been made to be still current. It is the time 0 if that does
// not matter.
func (r Rotate) since(now time.Time) (t time.Time) {
	if r.Age > 0 {
		t = now.Add(-r.Age)
	}
	at, err := time.Parse(clock, r.At)
	if err != nil {
		return t
	}
	day := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, now.Location())
	if day.After(now) {
		day = day.AddDate(0, 0, -1)
	}
	if day.After(t) {
		return day
	}
	return t
}

// rotates reports whether files are set aside.
func (r Rotate) rotates() bool { return r.Size > 0 || r.Age > 0 || r.At != "" }

// pause returns after which time to look again whether a file is due: once a minute, for the clock
// may be set, or oftener for a short age, and when it is time.
func (r Rotate) pause(now time.Time) time.Duration {
	pause := time.Minute
	if r.Age > 0 {
		pause = min(pause, r.Age/10+time.Millisecond)
	}
	if at := (Rotate{At: r.At}).since(now); !at.IsZero() {
		pause = min(pause, at.AddDate(0, 0, 1).Sub(now))
	}
	return pause
}

// Validate checks each setting.
func (s SinkSettings) Validate() error {
	var c checks
	if s.Path == nil {
		return bridge.KeyErrorf("path", "must name a file")
	}
	text, constant := s.Path.Constant()
	c.bad(text == "" && constant, "path", "must name a file")
	c.bad(text != "" && constant && os.IsPathSeparator(text[len(text)-1]), "path",
		"must name a file, not a folder: out/messages.txt, and not out/")
	c.bad(!constant && !strings.Contains(strings.TrimPrefix(text, "/"), "/"), "path",
		"must name a folder before its first {{, such as out/ or ./, for messages choose what stands behind that")
	_, err := time.Parse(clock, s.Rotate.At)
	c.bad(s.Rotate.At != "" && err != nil, "rotate.at",
		`must be a time of day such as "00:00" or "23:30", for once a day; age is for other times`)
	c.bad(s.Rotate.Keep > 0 && constant && !s.Rotate.rotates(),
		"rotate.keep", "needs size, age or at")
	_, err = s.mode()
	c.bad(err != nil, "mode",
		"must be octal digits such as 0640, with which the bridge can read and write (0600 at least)")
	return errors.Join(c...)
}

type checks []error

func (c *checks) bad(is bool, key, text string, args ...any) {
	if is {
		*c = append(*c, bridge.KeyErrorf(key, text, args...))
	}
}
