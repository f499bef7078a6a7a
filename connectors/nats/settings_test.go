package nats_test

import (
	"errors"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

func TestSourceSettings(t *testing.T) {
	for name, c := range map[string]struct {
		set func(*nats.SourceSettings)
		key string // of the only error; empty: valid
	}{
		"subject":             {func(s *nats.SourceSettings) { s.Subject = "a.*.>" }, ""},
		"subjects":            {func(s *nats.SourceSettings) { s.Subjects = []string{">", "*"} }, ""},
		"stream":              {func(s *nats.SourceSettings) { s.Stream, s.Filter = "S", []string{"a.>"} }, ""},
		"nothing to read":     {func(*nats.SourceSettings) {}, "subject"},
		"subject twice":       {func(s *nats.SourceSettings) { s.Subject, s.Subjects = "a", []string{"b"} }, "subjects"},
		"subject and stream":  {func(s *nats.SourceSettings) { s.Subject, s.Stream = "a", "S" }, "stream"},
		"bad subject":         {func(s *nats.SourceSettings) { s.Subject = "a.>.b" }, "subject"},
		"white space":         {func(s *nats.SourceSettings) { s.Subject = "a b" }, "subject"},
		"empty word":          {func(s *nats.SourceSettings) { s.Subject = "a..b" }, "subject"},
		"bad filter":          {func(s *nats.SourceSettings) { s.Stream, s.Filter = "S", []string{"a."} }, "filter"},
		"filter of a subject": {func(s *nats.SourceSettings) { s.Subject, s.Filter = "a", []string{"a"} }, "filter"},
		"durable subject":     {func(s *nats.SourceSettings) { s.Subject, s.Durable = "a", "D" }, "durable"},
		"bad durable":         {func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "a.b" }, "durable"},
		"bad stream":          {func(s *nats.SourceSettings) { s.Stream = "S 1" }, "stream"},
		"queue of a stream":   {func(s *nats.SourceSettings) { s.Stream, s.Queue = "S", "q" }, "queue"},
		"bad queue":           {func(s *nats.SourceSettings) { s.Subject, s.Queue = "a", "q 1" }, "queue"},
		"no room":             {func(s *nats.SourceSettings) { s.Subject, s.Buffer = "a", 0 }, "buffer"},
		"short ack_wait":      {func(s *nats.SourceSettings) { s.Stream, s.AckWait = "S", 1 }, "ack_wait"},
		"domain":              {func(s *nats.SourceSettings) { s.Stream, s.Domain = "S", "hub" }, ""},
		"domain of two words": {func(s *nats.SourceSettings) { s.Stream, s.Domain = "S", ".hub" }, "domain"},
		"api_prefix":          {func(s *nats.SourceSettings) { s.Stream, s.APIPrefix = "S", "$JS.hub.API." }, ""},
		"api_prefix of a dot": {func(s *nats.SourceSettings) { s.Stream, s.APIPrefix = "S", "." }, "api_prefix"},
		"api_prefix, no word": {func(s *nats.SourceSettings) { s.Stream, s.APIPrefix = "S", ".js" }, "api_prefix"},
		"scheme":              {func(s *nats.SourceSettings) { s.Subject, s.URL = "a", url(t, "http://127.0.0.1") }, "url"},
		"two credentials": {func(s *nats.SourceSettings) {
			s.Subject, s.Creds, s.Token = "a", "file", bridge.NewSecret("t")
		}, "username"},
		"password alone": {func(s *nats.SourceSettings) { s.Subject, s.Password = "a", bridge.NewSecret("p") }, "password"},
		"subject of a stream to create": {func(s *nats.SourceSettings) {
			s.Subject, s.Streams = "a", map[string]nats.Stream{"S": {Subjects: []string{"a b"}}}
		}, "streams.S.subjects"},
	} {
		t.Run(name, func(t *testing.T) {
			s := nats.Connector().Source.Settings().(*nats.SourceSettings)
			s.URL = url(t, "nats://127.0.0.1")
			c.set(s)
			checkKey(t, errors.Join(s.Settings.Validate(), s.Client.Validate(), s.Validate()), c.key)
		})
	}
}

func checkKey(t *testing.T, err error, want string) {
	t.Helper()
	var key *bridge.KeyError
	switch {
	case want == "" && err != nil:
		t.Errorf("err = %v, want none", err)
	case want != "" && (!errors.As(err, &key) || key.Key != want):
		t.Errorf("err = %v, want one about %s", err, want)
	}
}

func TestSinkSettings(t *testing.T) {
	for subject, key := range map[string]string{
		"a.b": "", "$KV.bucket.key": "", "": "subject", "a.*": "subject", ">": "subject", "a b": "subject", "a..b": "subject",
	} {
		s := nats.Connector().Sink.Settings().(*nats.SinkSettings)
		s.URL, s.Subject = url(t, "nats://127.0.0.1"), bridge.Text(subject)
		t.Run(subject, func(t *testing.T) { checkKey(t, s.Validate(), key) })
	}
}

func TestMaxUnacked(t *testing.T) {
	for _, c := range []struct {
		set  nats.SourceSettings
		want int
	}{
		{nats.SourceSettings{Subject: "a"}, 0},
		{nats.SourceSettings{Stream: "S"}, 4 * bridge.DefaultMaxBatch},
		{nats.SourceSettings{Stream: "S", MaxAckPending: 7}, 7},
	} {
		if got := c.set.Describe().MaxUnacked; got != c.want {
			t.Errorf("%+v: %d, want %d", c.set, got, c.want)
		}
	}
}
