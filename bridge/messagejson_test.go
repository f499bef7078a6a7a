package bridge_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestMessageAsJSON(t *testing.T) {
	for _, c := range []struct {
		m    bridge.Message
		want string
	}{
		{bridge.Message{}, `{"payload":""}`},
		{
			bridge.Message{
				ID: "i", Topic: "a/<b>", Header: map[string]string{"k": "v"},
				Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Payload: []byte("x\ty\r\n"),
			},
			`{"time":"2026-01-02T03:04:05Z","id":"i","topic":"a/<b>","header":{"k":"v"},"payload":"x\ty\r\n"}`,
		},
		{bridge.Message{Payload: []byte("\x00")}, `{"payload_base64":"AA=="}`},
		{
			bridge.Message{
				ID: "\xff", Topic: "\xfe", Header: map[string]string{"\xff": "", "k": "\xff"},
				Payload: []byte("\xff"),
			},
			`{"id_base64":"/w==","topic_base64":"/g==","header_base64":{"/w==":"","aw==":"/w=="},"payload_base64":"/w=="}`,
		},
	} {
		text, err := c.m.MarshalJSON()
		if err != nil || string(text) != c.want {
			t.Errorf("got %s, %v, want %s", text, err, c.want)
		}
		var got bridge.Message
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(c.m, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{
		"{}", `{"payload":"a","payload_base64":"YQ=="}`, `{"payload":"a","x":1}`,
		`{"payload":1}`, `{"payload":"a","header_base64":{"?":""}}`,
	} {
		if err := json.Unmarshal([]byte(text), new(bridge.Message)); err == nil {
			t.Errorf("%s is taken for a message", text)
		}
	}
}

// Letters of an empty payload that earlier builds have kept can be read.
func TestLetterWithoutPayload(t *testing.T) {
	var d bridge.DeadLetter
	err := json.Unmarshal([]byte(
		`{"reason":"r","pipeline":"p","place":"sink","connector":"c","instance":"p-to","attempts":1,`+
			`"first":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","time":"2026-01-02T03:04:05Z","topic":"t"}`), &d)
	if err != nil || d.Topic != "t" || len(d.Payload) != 0 || d.Time.IsZero() {
		t.Errorf("got %+v, %v", d, err)
	}
}
