package main

import (
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// progressEvery is how often the bar is drawn anew.
const progressEvery = 200 * time.Millisecond

// showProgress draws a bar with rate and remaining time while all inputs know
// their size, if standard error is a terminal and the data goes elsewhere. The
// returned function removes it.
func (f runFlags) showProgress(s std, b *bridge.Bridge) (hide func()) {
	if f.log.quiet || !isTerminal(s.err) || isTerminal(s.out) && writesToStdout(b) {
		return func() {}
	}
	done := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		var bar *progressbar.ProgressBar
		for {
			select {
			case <-tick.C:
			case <-done:
				if bar != nil {
					_ = bar.Clear()
				}
				return
			}
			read, total := progress(b)
			if total == 0 {
				continue
			}
			if bar == nil {
				bar = progressbar.NewOptions64(total,
					progressbar.OptionSetWriter(s.err),
					progressbar.OptionShowBytes(true),
					progressbar.OptionSetPredictTime(true),
					progressbar.OptionUseANSICodes(true),
					progressbar.OptionFullWidth())
			}
			bar.ChangeMax64(max(total, read))
			_ = bar.Set64(read)
		}
	})
	return func() { close(done); drawing.Wait() }
}

// progress adds up the pipelines; total is 0 unless all of them know it.
func progress(b *bridge.Bridge) (read, total int64) {
	for _, p := range b.Pipelines {
		r, t := p.Progress()
		if t == 0 {
			return 0, 0
		}
		read, total = read+r, total+t
	}
	return read, total
}

func writesToStdout(b *bridge.Bridge) bool {
	for _, p := range b.Pipelines {
		for _, e := range p.To {
			if e.Type == "stdio" {
				return true
			}
		}
	}
	return false
}
