package discard_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/discard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }

func TestEveryMessageIsDelivered(t *testing.T) {
	c := discard.Connector()
	s, err := c.Sink.Open(t.Context(), c.Sink.Settings(), bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 1000} {
		r, err := s.Write(t.Context(), make(bridge.Batch, size))
		if r.Settled != size || r.Refused != nil || r.Omitted != nil || err != nil {
			t.Errorf("Write of %d messages = %+v, %v", size, r, err)
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
}
