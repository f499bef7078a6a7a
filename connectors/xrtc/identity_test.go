package xrtc_test

import (
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// Equal items of one millisecond have ids of their own, also with a restart between them.
func TestEqualItemsOverARestart(t *testing.T) {
	s := xrtctest.Start(t, server.Config{})
	if _, err := s.Client(t).Set(t.Context(), sdk.Item{PortalID: "p", Payload: "0"},
		sdk.Item{PortalID: "p", Payload: "0"}); err != nil {
		t.Fatal(err)
	}
	env := bridgetest.Env(t, "reader")
	env.Checkpoint, env.MaxBatch = new(bridge.MemoryCheckpoint), 1
	var ids []string
	for range 2 {
		source, err := xrtc.Connector().Source.Open(t.Context(), sourceSettings(t, s, "p"), env)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, read(t, source)[0].ID)
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	if ids[0] == ids[1] {
		t.Errorf("two items have the id %s", ids[0])
	}
}
