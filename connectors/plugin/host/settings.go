package host

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Settings is an entry of plugins: in the configuration.
type Settings struct {
	// Path is the program. Symbolic links are followed, and neither it nor its folder may be writable by everybody.
	Path string `yaml:"path,required,short"`

	// SHA256 is the checksum of the program in hexadecimal digits. With it, a private copy is made
	// and started, and only if that has this checksum.
	SHA256 string `yaml:"sha256"`

	// Env is what the plugin gets of the environment: NAME passes on the bridge's, NAME=value sets it.
	Env []string `yaml:"env"`

	// Args are given to the program.
	Args []string `yaml:"args"`

	Limits Limits `yaml:"limits"`
}

// Limits bound what a plugin may do. Zero means the default.
type Limits struct {
	Message bridge.Size   `yaml:"message"` // bytes of a batch, and so of one message; 16MiB
	Start   time.Duration `yaml:"start"`   // until the plugin is ready; 10s
	Call    time.Duration `yaml:"call"`    // for one call, a Write of a batch for example; 30s
	Crashes int           `yaml:"crashes"` // within a minute, then it is not started again; 5
	Files   int           `yaml:"files"`   // open at once; the bridge's own limit. Linux only
	Memory  bridge.Size   `yaml:"memory"`  // of data; no limit. Linux only
}

func (l Limits) withDefaults() Limits {
	l.Message = cmp.Or(l.Message, pluginpb.DefaultLimit)
	l.Start = cmp.Or(l.Start, 10*time.Second)
	l.Call = cmp.Or(l.Call, 30*time.Second)
	l.Crashes = cmp.Or(l.Crashes, 5)
	return l
}

const maxMessage = 1 << 30

var (
	checksum = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(=|$)`)
	name     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// Validate checks what can be said without looking at the program.
func (s Settings) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, &bridge.KeyError{Key: key, Err: fmt.Errorf(format, args...)})
	}
	if s.Path == "" {
		wrong("path", "is empty")
	}
	if s.SHA256 != "" && !checksum.MatchString(s.SHA256) {
		wrong("sha256", "must be 64 hexadecimal digits; xrtcbridge plugins lock writes them")
	}
	for _, e := range s.Env {
		if !variable.MatchString(e) {
			wrong("env", "%q is neither NAME nor NAME=value", e)
		}
	}
	if l := s.Limits; l.Message < 0 || l.Message > maxMessage {
		wrong("limits.message", "must be at most 1GiB")
	}
	if s.Limits.Crashes < 0 {
		wrong("limits.crashes", "must be at least 1")
	}
	if s.Limits.Files < 0 || s.Limits.Files > 0 && s.Limits.Files < 16 {
		wrong("limits.files", "must be at least 16")
	}
	return errors.Join(errs...)
}

// CheckName returns an error if no plugin can be called that.
func CheckName(plugin string) error {
	if !name.MatchString(plugin) {
		return errors.New("a plugin's name is a lower-case letter, then letters, digits, - and _, 64 at most")
	}
	return nil
}
