package step

import (
	"context"
	_ "embed"
	"maps"
	"regexp"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed origin.yaml
var originExample string

// mostHops is how many mirrors a message may pass.
const mostHops = 32

// Origin returns the connector origin, a step that ends loops: a message carries the names of the
// mirrors that it has passed, and one that comes back to a mirror is dropped there.
//
// # Settings
//
// name is that of the mirror, the same in both directions; header is where the names are, separated
// by commas.
//
// # Guarantees
//
// A message passes each name once, and no more than 32 names. That holds as long as the header
// survives: NATS carries headers, MQTT 5 (protocol: 5) and XRTC portals with envelope: true; MQTT
// 3.1.1 has none, so that a mirror between such brokers must keep apart by topics what it reads and
// what it writes, which the command check looks after.
func Origin() bridge.Connector {
	return bridge.Connector{
		Name:     "origin",
		Summary:  "marks messages with a name, and drops those that have it already: no loops in two-way mirrors",
		Delivery: "what comes back is counted as filtered; needs headers, which MQTT 3.1.1 has not",
		Example:  originExample,
		Step:     bridge.NewOpener(originSettings{Header: "xrtcbridge-origin"}, openOrigin),
	}
}

type originSettings struct {
	Name   string `yaml:"name,short,required" doc:"of the mirror, the same in both directions"`
	Header string `yaml:"header" doc:"where the names are"`
}

// Describe says that a message that comes again is the same one.
func (originSettings) Describe() bridge.Description { return repeats() }

var validOrigin = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate checks the names.
func (s originSettings) Validate() error {
	if !validOrigin.MatchString(s.Name) {
		return bridge.KeyErrorf("name", "a name has 1 to 64 letters, digits, - and _")
	}
	if !validOrigin.MatchString(s.Header) {
		return bridge.KeyErrorf("header", "a header has 1 to 64 letters, digits, - and _")
	}
	return nil
}

type origin struct{ name, header string }

var _ bridge.Step = (*origin)(nil)

func openOrigin(_ context.Context, s *originSettings, _ bridge.Env) (bridge.Step, error) {
	return &origin{s.Name, s.Header}, nil
}

func (o *origin) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i, m := range batch {
		passed := m.Header[o.header]
		if o.turned(passed) {
			out.Drop(i)
			continue
		}
		if passed != "" {
			passed += ","
		}
		header := maps.Clone(m.Header) // others may have it
		if header == nil {
			header = make(map[string]string, 1)
		}
		header[o.header] = passed + o.name
		m.Header = header
		out.Emit(i, m)
	}
	return nil
}

func (o *origin) Close() error { return nil }

// turned reports whether a message has been here, or wanders too long.
func (o *origin) turned(passed string) bool {
	if passed == "" {
		return false
	}
	n := 0
	for name := range strings.SplitSeq(passed, ",") {
		if n++; strings.TrimSpace(name) == o.name || n >= mostHops {
			return true
		}
	}
	return false
}
