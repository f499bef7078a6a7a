package store

import (
	"errors"
	"regexp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// DefaultDir is where the state is kept unless settings say otherwise, relative to the folder that the bridge runs in.
const DefaultDir = "xrtcbridge-state"

// Settings say where the state is kept.
type Settings struct {
	Dir        string      `yaml:"dir,short"`                       // folder; empty: DefaultDir
	Durability string      `yaml:"durability" enum:"power|process"` // what survives: power loss, or a crash of the process only; empty: power
	MaxSize    bridge.Size `yaml:"max_size"`                        // most bytes on disk; 0: 8 GiB
	Reserve    bridge.Size `yaml:"reserve"`                         // buffers stop growing when the disk has less free; 0: see reserve
	Strict     bool        `yaml:"strict"`                          // a pipeline stops when its buffer has lost messages
	NATS       *NATS       `yaml:"nats"`                            // keep it in this JetStream instead
}

// NATS is an external server.
type NATS struct {
	URL      []bridge.URL  `yaml:"url,short,required"`
	Username string        `yaml:"username"`
	Password bridge.Secret `yaml:"password"`
	Token    bridge.Secret `yaml:"token"`
	Creds    string        `yaml:"creds"` // file
	NKey     string        `yaml:"nkey"`  // file
	TLS      bridge.TLS    `yaml:"tls"`
	Prefix   string        `yaml:"prefix"`                   // of the names of streams and subjects; empty: xrtcbridge
	Replicas int           `yaml:"replicas" min:"0" max:"5"` // of each stream; 0: 1
}

const (
	defaultPrefix  = "xrtcbridge"
	defaultMaxSize = 8 << 30
)

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// Validate checks what belongs together.
func (s Settings) Validate() error {
	var errs []error
	if s.NATS != nil {
		if s.Dir != "" || s.Durability != "" || s.MaxSize != 0 || s.Reserve != 0 {
			errs = append(errs, keyError("nats", "the state is kept either there or in a folder: leave out dir, durability, max_size and reserve, which the server decides"))
		}
		if p := s.NATS.Prefix; p != "" && !validPrefix.MatchString(p) {
			errs = append(errs, keyError("nats.prefix", "a prefix has letters, digits, - and _"))
		}
	}
	if s.Durability != "" && s.Durability != "power" && s.Durability != "process" {
		errs = append(errs, keyError("durability", "write power or process"))
	}
	if s.MaxSize < 0 {
		errs = append(errs, keyError("max_size", "a size cannot be negative"))
	}
	if s.Reserve < 0 {
		errs = append(errs, keyError("reserve", "a size cannot be negative"))
	}
	return errors.Join(errs...)
}

func keyError(key, text string) error {
	return &bridge.KeyError{Key: key, Err: errors.New(text)}
}

func (s Settings) dir() string {
	if s.Dir == "" {
		return DefaultDir
	}
	return s.Dir
}

func (s Settings) prefix() string {
	if s.NATS == nil || s.NATS.Prefix == "" {
		return defaultPrefix
	}
	return s.NATS.Prefix
}

func (s Settings) replicas() int {
	if s.NATS == nil {
		return 1
	}
	return max(1, s.NATS.Replicas)
}
