package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

const (
	// lookEvery is how often the service manager is told anew, and lookFirst the same until the
	// bridge has started.
	lookEvery = time.Second
	lookFirst = 50 * time.Millisecond

	// mostStart is when the bridge counts as started though an end does neither open nor fail.
	mostStart = 10 * time.Second

	// mostReason is how many characters of a reason are in the status.
	mostReason = 200
)

// service tells systemd, or whoever else has set $NOTIFY_SOCKET, what the process does. It is for a
// unit of Type=notify-reload or notify; without a socket nothing is told.
//
// The bridge is ready when each pipeline was tried: one whose broker is down must not fail what
// waits for the bridge, and least of all a boot. That is not what /readyz says. The watchdog hears
// from it only when it has looked at all pipelines and their ends, through the locks that they hold
// at their work.
type service struct {
	log      *slog.Logger
	drain    time.Duration
	watchdog bool

	done    chan struct{}
	telling sync.WaitGroup

	mu       sync.Mutex // guards what follows, and the order of what is told
	look     func() []monitor.Pipeline
	want     int       // how many pipelines there are at first
	since    time.Time // when look was set
	ready    bool
	stopping bool
	rejected error // by the last reload
	status   string
}

// startService begins to tell. It stops with close, and is told of a stop by ctx, from which on the
// process takes so long at most.
func startService(ctx context.Context, log *slog.Logger, drain time.Duration) *service {
	s := &service{log: log, drain: drain, done: make(chan struct{})}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of the service manager is not served", "err", err)
	}
	s.watchdog = every > 0
	if told, err := daemon.SdNotify(false, "STATUS=starting"); err != nil || !told {
		if err != nil {
			log.Warn("the service manager cannot be told what the bridge does", "err", err)
		}
		return s
	}
	s.telling.Go(func() { s.run(ctx, every/2) })
	return s
}

func (s *service) run(ctx context.Context, most time.Duration) {
	tick := time.NewTicker(lookFirst)
	defer tick.Stop()
	for stop := ctx.Done(); ; {
		if s.tell() {
			after := lookEvery
			if s.watchdog {
				after = min(after, most)
			}
			tick.Reset(after)
		}
		select {
		case <-tick.C:
		case <-stop:
			stop = nil
			s.tell() // a bridge may have done all its work between two looks
			s.stop()
		case <-s.done:
			return
		}
	}
}

// watch has it look at pipelines from now on, of which there will be n soon.
func (s *service) watch(n int, look func() []monitor.Pipeline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look, s.want, s.since = look, n, time.Now()
}

// close says that the process ends.
func (s *service) close() {
	close(s.done)
	s.telling.Wait()
	s.tell()
	s.stop()
}

// tell tells what has changed, and reports whether the bridge has started.
func (s *service) tell() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.look == nil {
		return false
	}
	pipelines := s.look()
	var states []string
	tried := len(pipelines) >= s.want && !slices.ContainsFunc(pipelines, func(p monitor.Pipeline) bool { return p.Undecided() })
	if !s.ready && !s.stopping && (tried || time.Since(s.since) > mostStart) {
		s.ready = true
		states = append(states, daemon.SdNotifyReady)
	}
	if status := s.line(pipelines); status != s.status {
		s.status = status
		states = append(states, "STATUS="+status)
	}
	if s.watchdog {
		states = append(states, daemon.SdNotifyWatchdog)
	}
	s.send(states...)
	return s.ready
}

func (s *service) line(pipelines []monitor.Pipeline) string {
	status := statusLine(pipelines)
	if s.rejected != nil {
		status = "the last reload has failed: " + clipped(s.rejected.Error()) + "; as before: " + status
	}
	return status
}

// stop says once that the process is to end.
func (s *service) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		most := min(s.drain+closeGrace+abortGrace, forever)
		s.send(daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", most.Microseconds()))
	}
}

// reloading says that the configuration is read anew, and reloaded how that went: with an error, if
// the one before goes on.
func (s *service) reloading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(daemon.SdNotifyReloading, strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

func (s *service) reloaded(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.rejected = true, err
	if s.look != nil {
		s.status = s.line(s.look())
	}
	s.send(daemon.SdNotifyReady, "STATUS="+s.status)
}

func (s *service) send(states ...string) {
	if len(states) == 0 {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		s.log.Debug("tell the service manager", "err", err)
	}
}

// statusLine is a line like "3 pipelines: 2 running, 1 waiting (sensors: connection refused)".
func statusLine(pipelines []monitor.Pipeline) string {
	line := bridge.Plural(len(pipelines), "pipeline")
	var states []string
	var why string
	for _, state := range []monitor.State{
		monitor.Running, monitor.Degraded, monitor.Starting, monitor.Waiting, monitor.Failed, monitor.Paused,
		monitor.Draining,
		monitor.Finished,
	} {
		n := 0
		for _, p := range pipelines {
			if p.State != state {
				continue
			}
			if n++; why == "" && p.Reason != "" {
				why = " (" + p.Name + ": " + clipped(p.Reason) + ")"
			}
		}
		if n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(states) > 0 {
		line += ": " + strings.Join(states, ", ")
	}
	return line + why
}

// clipped returns the beginning of a text, in a line.
func clipped(text string) string {
	words := []rune(strings.Join(strings.Fields(text), " "))
	if len(words) > mostReason {
		return string(words[:mostReason]) + "…"
	}
	return string(words)
}
