package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Where a connection is broken, the news that the process has ended may be late, and is waited for,
// but not by a caller whose context is done.
func TestLateNewsIsWaitedForWhileSomebodyWants(t *testing.T) {
	broken := status.Error(codes.Unavailable, "EOF")
	failed := func(ctx context.Context, p *process) (took time.Duration, err error) {
		began := time.Now()
		err = p.failed(ctx, "read", broken)
		return time.Since(began), err
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &process{name: "p", gone: make(chan struct{})}
		time.AfterFunc(time.Second, cancel)
		if took, err := failed(ctx, p); took > 2*time.Second || !strings.Contains(err.Error(), "the connection is broken") {
			t.Errorf("it took %v to hear %v", took, err)
		}
		time.AfterFunc(8*time.Second, func() { p.end = errors.New("killed"); close(p.gone) })
		if took, err := failed(t.Context(), p); took != 8*time.Second || err.Error() != "killed" {
			t.Errorf("it took %v to hear %v, want 8s, and the end of the process", took, err)
		}
	})
}
