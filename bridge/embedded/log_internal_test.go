package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// S57: what the server says of its clients is bounded, and told when it is over; what it says of
// itself is not.
func TestS57LinesAboutClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		l := newLogger(slog.New(slog.NewTextHandler(&text, nil)), strings.NewReplacer())
		for i := range 10_000 {
			l.Errorf("127.0.0.1:38068 - "+[]string{"cid", "mid", "mid_ws"}[i%3]+":23866 - %s", "authentication error")
			l.Errorf("disk full")
		}
		if n := strings.Count(text.String(), "authentication error"); n != clientLines {
			t.Errorf("%d lines about clients", n)
		}
		if n := strings.Count(text.String(), "disk full"); n != 10_000 {
			t.Errorf("%d lines about the server", n)
		}
		text.Reset()
		time.Sleep(clientEvery) //nolint:forbidigo // of the bubble's clock
		l.Warnf("127.0.0.1:38068 - cid:23866 - gone")
		if got := text.String(); !strings.Contains(got, "untold=9900") || !strings.Contains(got, "gone") {
			t.Errorf("it says %q", got)
		}
	})
}
