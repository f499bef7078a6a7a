package store

import (
	"cmp"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// DefaultDir is where the state is kept unless settings say otherwise, relative to the working
// directory.
const DefaultDir = "xrtcbridge-state"

// Settings say where the state is kept.
type Settings struct {
	Dir        string      `yaml:"dir,short,path" enum:"off|memory" doc:"folder; empty: xrtcbridge-state beside the file; off or memory: nothing is kept"`
	Shared     bool        `yaml:"shared" doc:"others may own the folder, or write to it: a volume with fsGroup, or without owners"`
	Durability string      `yaml:"durability" enum:"power|process" doc:"what survives: power loss, or a crash of the process only; empty: power"`
	MaxSize    bridge.Size `yaml:"max_size" doc:"most bytes on disk; 0: 8 GiB"`
	Reserve    bridge.Size `yaml:"reserve" doc:"buffers stop growing when the disk has less free; 0: 5 % of the disk, from 512 MiB to 2 GiB"`
	Strict     bool        `yaml:"strict" doc:"a pipeline stops when its buffer has lost messages"`
	NATS       *NATS       `yaml:"nats" doc:"keep it in this JetStream instead"`
}

// NATS is an external server.
type NATS struct {
	natsclient.Settings `yaml:",inline"`
	Prefix              string `yaml:"prefix" doc:"of the names of streams, and behind $XRTCBRIDGE. of subjects; empty: xrtcbridge"`
	Replicas            int    `yaml:"replicas" min:"0" max:"5" doc:"copies that a cluster keeps of each stream; 0: 1"`
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
		if s.Dir != "" || s.Shared || s.Durability != "" || s.MaxSize != 0 || s.Reserve != 0 {
			errs = append(errs, bridge.KeyErrorf("nats",
				"the state is kept either there or in a folder: leave out dir, shared, durability, max_size and reserve, "+
					"which the server decides"))
		}
		if p := s.NATS.Prefix; p != "" && !validPrefix.MatchString(p) {
			errs = append(errs, bridge.KeyErrorf("nats.prefix", "a prefix has letters, digits, - and _"))
		}
	}
	if s.MaxSize < 0 {
		errs = append(errs, bridge.KeyErrorf("max_size", "a size cannot be negative"))
	}
	if s.Reserve < 0 {
		errs = append(errs, bridge.KeyErrorf("reserve", "a size cannot be negative"))
	}
	return errors.Join(errs...)
}

// Off reports whether nothing is kept beyond the life of the process.
func (s Settings) Off() bool { return s.Dir == "off" || s.Dir == "memory" }

// Place is the folder, if neither NATS is set nor it is off.
func (s Settings) Place() owned.Place {
	return owned.Place{Path: cmp.Or(s.Dir, DefaultDir), Shared: s.Shared, Setting: "state: {shared: true}"}
}

// MayHaveBufferOf reports, without opening the state, whether it may have the buffer of a pipeline
// for which of says true.
func (s Settings) MayHaveBufferOf(of func(pipeline string) bool) bool {
	if s.NATS != nil {
		return true
	}
	buffer := names{stream: s.prefix()}.buffer("")
	found, _ := filepath.Glob(filepath.Join(s.Place().Path, server.JetStreamStoreDir, "*", "streams", buffer+"*"))
	return slices.ContainsFunc(found, func(dir string) bool { return of(strings.TrimPrefix(filepath.Base(dir), buffer)) })
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
