package bridgetest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

func TestMemorySource(t *testing.T) {
	bridgetest.TestSource(t, func(*testing.T) bridgetest.SourceTest {
		u := new(bridgetest.Upstream)
		return bridgetest.SourceTest{
			Open:     u.Open,
			Send:     func(_ *testing.T, m ...bridge.Message) { u.Send(m...) },
			Finish:   func(*testing.T) { u.Finish() },
			Features: bridgetest.Features{Redelivers: true, Headers: true, Topics: true, Binary: true, IDs: true},
		}
	})
}

func TestMemorySink(t *testing.T) {
	bridgetest.TestSink(t, func(*testing.T) bridgetest.SinkTest {
		d := &bridgetest.Downstream{Refuse: func(m *bridge.Message) error {
			if string(m.Payload) == "bad" {
				return errors.New("it is bad")
			}
			return nil
		}}
		return bridgetest.SinkTest{
			Open: d.Open,
			Receive: func(t *testing.T, n int) []bridge.Message {
				bridgetest.Eventually(t, "messages arrive", func() bool { return len(d.Got()) >= n })
				return d.Got()
			},
			Refused:  func() bridge.Message { return bridge.Message{Topic: bridgetest.Topic, Payload: []byte("bad")} },
			Features: bridgetest.Features{Headers: true, Topics: true, Binary: true},
		}
	})
}

func TestEventuallyPolls(t *testing.T) {
	start := time.Now()
	bridgetest.Eventually(t, "some time passes", func() bool { return time.Since(start) > 5*time.Millisecond })
}
