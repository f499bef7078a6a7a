package nats_test

import (
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/discard"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

func TestExampleLoads(t *testing.T) {
	c := nats.Connector()
	loader := config.Loader{Registry: bridge.NewRegistry(c, discard.Connector())}
	if _, err := loader.Parse("example.yaml", []byte(c.Example)); err != nil {
		t.Error(err)
	}
	for _, settings := range []any{c.Source.Settings(), c.Sink.Settings()} {
		for _, k := range config.Keys(settings) {
			name := k.Name[strings.LastIndex(k.Name, ".")+1:]
			if name != "NAME" && !strings.Contains(c.Example, name+":") {
				t.Errorf("example.yaml does not show %s", k.Name)
			}
		}
	}
}
