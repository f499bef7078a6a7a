package xrtc_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// A probe logs in and reads; it sets nothing, and what it has read comes to others all the same.
func TestProbeSetsAndConsumesNothing(t *testing.T) {
	var sets atomic.Int32
	f := startFront(t, server.Config{}, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/item/set" {
			sets.Add(1)
		}
		return false
	})
	if _, err := f.Client(t).Set(t.Context(), sdk.Item{PortalID: "kitchen", Payload: "21"}); err != nil {
		t.Fatal(err)
	}
	before := sets.Load()
	source, err := xrtc.Connector().Source.Open(t.Context(), sourceSettings(t, f.Server, "kitchen", "hall"),
		bridgetest.Env(t, "from"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	env := bridgetest.Env(t, "check")
	for _, test := range []struct {
		of   bridge.Prober
		want bridge.Probed
	}{
		{sourceSettings(t, f.Server, "kitchen", "hall"), bridge.Probed{
			Tried: []string{"logged in", `read ["kitchen" "hall"]`}, NotTried: []string{"portal hall holds nothing now"},
		}},
		{sourceSettings(t, f.Server, "all"), bridge.Probed{
			Tried:    []string{"logged in"},
			NotTried: []string{"read all portals: it would take requests that the account may have a limit for"},
		}},
		{sinkSettings(t, f.Server, bridge.Text("hall")), bridge.Probed{
			Tried: []string{"logged in"}, NotTried: []string{"set an item of portal hall: it would change something"},
		}},
	} {
		got, err := test.of.Probe(t.Context(), env)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	batch, _, err := source.Read(t.Context())
	if err != nil || len(batch) != 1 || string(batch[0].Payload) != "21" {
		t.Errorf("read %v, %v", batch, err)
	}
	if n := sets.Load() - before; n != 0 {
		t.Errorf("%d items were set", n)
	}
}

// A wrong key is told, and so is a server that lets nobody log in so soon again.
func TestProbeOfKeys(t *testing.T) {
	l := server.Public()
	l.LoginTimeout = 2 * bridgetest.Timeout
	f := startFront(t, server.Config{Limits: l}, nil)
	s := sinkSettings(t, f.Server, bridge.Text("hall"))
	wrong := *s
	wrong.APIKey = bridge.NewSecret("wrong567890123456789012345678901")
	if _, err := wrong.Probe(t.Context(), bridgetest.Env(t, "check")); err == nil || !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "check account_id and api_key") {
		t.Errorf("error is %v", err)
	}
	f.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout) // less than the pause
	defer cancel()
	got, err := s.Probe(ctx, bridgetest.Env(t, "check"))
	want := bridge.Probed{
		Tried:    []string{"the server knows account and key"},
		NotTried: []string{"more than that: it wants a pause from one login to the next"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
