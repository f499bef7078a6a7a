package host

import (
	"cmp"
	"errors"
	"regexp"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Settings is an entry of plugins: in the configuration.
type Settings struct {
	Path string `yaml:"path,required,short,path" doc:"the program. It and each folder above it must be root's or this user's, and writable by nobody else"`

	SHA256 string `yaml:"sha256" doc:"the checksum of the program in hexadecimal digits. With it, a private copy is made and started, and only if that has this checksum"`

	Env []string `yaml:"env" doc:"what the plugin gets of the environment: NAME passes on the bridge's, NAME=value sets it"`

	Args []string `yaml:"args" doc:"given to the program"`

	Limits Limits `yaml:"limits" doc:"what the plugin may take"`
}

// Limits bound what a plugin may do. Zero means the default.
type Limits struct {
	Message bridge.Size   `yaml:"message" doc:"bytes of a batch, and so of one message; 16MiB"`
	Start   time.Duration `yaml:"start" doc:"until the plugin is ready; 30s"`
	Call    time.Duration `yaml:"call" doc:"for one call, a Write of a batch for example; 30s. A Read that waits longer is interrupted, and called again"`
	Crashes int           `yaml:"crashes" doc:"within a minute, then it is left alone until that is over; 5. An answer that makes no sense counts as one, and a crash over messages that on_error refuses after retry.max does not"`
	Files   int           `yaml:"files" doc:"open at once; the bridge's own limit. Linux only"`
	Memory  bridge.Size   `yaml:"memory" doc:"of data; no limit. Linux only"`
}

func (l Limits) withDefaults() Limits {
	l.Message = cmp.Or(l.Message, pluginpb.DefaultLimit)
	l.Start = cmp.Or(l.Start, 30*time.Second)
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
		errs = append(errs, bridge.KeyErrorf(key, format, args...))
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
