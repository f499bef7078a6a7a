package nats_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// What the file says of a stream that is there is what holds, or is refused; nothing is lost by it.
func TestStreamIsAdjusted(t *testing.T) {
	has := jetstream.StreamConfig{
		Name: "S", Subjects: []string{"a"}, MaxBytes: 1 << 20, MaxMsgs: 100, MaxAge: time.Hour,
		Duplicates: time.Minute, MaxMsgSize: 5000,
	}
	for name, c := range map[string]struct {
		says nats.Stream
		want func(*jetstream.StreamConfig) // changes what it has; nil: refused
		err  string
	}{
		"nothing": {says: nats.Stream{}, want: func(*jetstream.StreamConfig) {}},
		"max_bytes, more": {
			says: nats.Stream{MaxBytes: 2 << 20},
			want: func(c *jetstream.StreamConfig) { c.MaxBytes = 2 << 20 },
		},
		"max_bytes, less": {
			says: nats.Stream{MaxBytes: 1 << 16},
			want: func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 16 },
		},
		"max_bytes, losing": {
			says: nats.Stream{MaxBytes: 100},
			err:  "change max_bytes from 1MiB to 100B: the stream would lose messages by the new max_bytes",
		},
		"max_msgs": {says: nats.Stream{MaxMsgs: 5}, want: func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 }},
		"max_msgs, losing": {
			says: nats.Stream{MaxMsgs: 4},
			err:  "change max_msgs from 100 to 4: the stream would lose messages by the new max_msgs",
		},
		"max_age": {
			says: nats.Stream{MaxAge: 2 * time.Hour},
			want: func(c *jetstream.StreamConfig) { c.MaxAge = 2 * time.Hour },
		},
		"max_age, losing": {
			says: nats.Stream{MaxAge: time.Nanosecond}, // all of them are older, however fast this was
			err:  "change max_age from 1h0m0s to 1ns: the stream would lose messages by the new max_age",
		},
		"discard": {
			says: nats.Stream{Discard: "new"},
			want: func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew },
		},
		"duplicates": {
			says: nats.Stream{Duplicates: time.Second},
			want: func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
		},
		"storage":  {says: nats.Stream{Storage: "memory"}, err: "change storage from File to Memory"},
		"replicas": {says: nats.Stream{Replicas: 3}, err: "change replicas from 1 to 3"},
		"several": {
			says: nats.Stream{Storage: "file", MaxBytes: 2 << 20, MaxMsgs: 200, Replicas: 1},
			want: func(c *jetstream.StreamConfig) {
				c.MaxBytes, c.MaxMsgs = 2<<20, 200
			},
		},
		"several, one losing": {says: nats.Stream{MaxBytes: 2 << 20, MaxMsgs: 1}, err: "max_msgs"},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, nil)
			js := client(t, s)
			stream := createStream(t, js, has)
			storeN(t, js, "a", 0, 5)
			stored(t, stream, 5)
			c.says.Subjects = []string{"a"}
			sink, err := nats.Connector().Sink.Open(t.Context(), sinkSettings(t, s, func(s *nats.SinkSettings) {
				s.Streams = map[string]nats.Stream{"S": c.says}
			}), bridgetest.Env(t, "test-to"))
			if err == nil {
				_ = sink.Close()
			}
			want := stream.CachedInfo().Config
			switch {
			case c.want == nil:
				if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "streams.S: change ") ||
					!strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "write here what the stream has") {
					t.Errorf("err = %v, want a permanent one that says %s, and what to do", err, c.err)
				}
			case err != nil:
				t.Error(err)
			default:
				c.want(&want)
			}
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := info.Config
			if got.MaxBytes != want.MaxBytes || got.MaxMsgs != want.MaxMsgs || got.MaxAge != want.MaxAge ||
				got.Discard != want.Discard ||
				got.Duplicates != want.Duplicates || got.MaxMsgSize != want.MaxMsgSize || info.State.Msgs != 5 {
				t.Errorf("the stream has %d messages and is\n%+v, want\n%+v", info.State.Msgs, got, want)
			}
		})
	}
}
