package main

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// progressEvery is how often the bar is drawn anew.
const progressEvery = 200 * time.Millisecond

// screen is standard error, shared by the log and the progress bar: the bar makes
// way for each line of the log.
type screen struct {
	to io.Writer

	mu  sync.Mutex // guards bar, and writing
	bar *progressbar.ProgressBar
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Clear()
	}
	return s.to.Write(p)
}

// draw shows how much of the total has been read, nothing if that is 0. The bar starts with the
// first call, which draws nothing: a rate needs time.
func (s *screen) draw(read, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.bar != nil && total == 0:
		_ = s.bar.Clear()
		s.bar = nil
	case s.bar != nil:
		s.bar.ChangeMax64(max(total, read))
		_ = s.bar.Set64(read)
	case total > 0:
		s.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(s.to),
			progressbar.OptionSetDescription("copying"),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionFullWidth())
		s.bar.StartWithoutRender()
	}
}

// showProgress draws a bar with rate and remaining time while all inputs know
// their size, if standard error is a terminal and the data goes elsewhere. The
// returned function removes it.
func (f runFlags) showProgress(s std, screen *screen, b *engine.Bridge) (hide func()) {
	if f.log.quiet || !isTerminal(s.err) || isTerminal(s.data) && writesToStdout(b) {
		return func() {}
	}
	done := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				screen.draw(0, 0)
				return
			}
			screen.draw(progress(b))
		}
	})
	return func() { close(done); drawing.Wait() }
}

// progress adds up the pipelines; total is 0 unless all of them know it. While one of them has
// something to do yet, not everything is read: the bar would be at its end.
func progress(b *engine.Bridge) (read, total int64) {
	over := true
	for _, p := range b.Situations() {
		r, t := p.Pipeline.Progress()
		if t == 0 {
			return 0, 0
		}
		read, total = read+r, total+t
		over = over && (p.Phase == engine.Finished || p.Phase == engine.Failed)
	}
	if !over {
		read = min(read, total-1)
	}
	return read, total
}

func writesToStdout(b *engine.Bridge) bool {
	for _, p := range b.Pipelines {
		for _, to := range p.Sinks() {
			if to.Sink.Type == "stdio" {
				return true
			}
		}
	}
	return false
}
