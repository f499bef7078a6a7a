package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// watchQuiet is how long the files must have been the same before they are read: an editor writes in
// several steps.
const watchQuiet = 300 * time.Millisecond

// watch asks for a reload when what the files say has changed, until ctx is done. It looks at their
// folders, since editors and Kubernetes put new files in place of old ones.
func (r *running) watch(ctx context.Context, asked chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the files: %w", err)
	}
	for _, folder := range r.watchedFolders() {
		if err := w.Add(folder); err != nil {
			_ = w.Close()
			return fmt.Errorf("watch %s: %w", folder, err)
		}
	}
	last := r.content()
	looked := last
	go func() {
		defer func() { _ = w.Close() }()
		quiet := time.NewTimer(watchQuiet) // what changed since the start
		defer quiet.Stop()
		waiting := true
		look := func() { // others may write to the folder all the time, so an event puts nothing off
			if !waiting {
				waiting = true
				quiet.Reset(watchQuiet)
			}
		}
		for {
			select {
			case <-w.Events:
				look()
			case err := <-w.Errors:
				r.log.Warn("watch the files", "err", err)
				look()
			case <-quiet.C:
				waiting = false
				now := r.content()
				if now != looked { // somebody may still be writing
					looked = now
					look()
				} else if now != last {
					last = now
					select {
					case asked <- struct{}{}:
					default: // the next one reads all that is there then
					}
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// watchedFolders returns those in which files are that the command line names, or may be.
func (r *running) watchedFolders() (all []string) {
	for _, name := range r.watched() {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			name = filepath.Dir(name)
		}
		all = append(all, name)
	}
	return all
}

func (r *running) watched() []string {
	if len(r.names) == 0 {
		return []string{defaultFile}
	}
	return r.names
}

// content is a hash of what the files say.
func (r *running) content() string {
	files, err := config.Files(r.watched()...)
	texts := []string{fmt.Sprint(err)}
	for _, name := range files {
		if name != "-" {
			text, err := config.ReadRegular(name, config.MaxFile) // as it is read then
			texts = append(texts, name, string(text), fmt.Sprint(err))
		}
	}
	return config.Fingerprint(texts...)
}
