package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

const (
	// watchQuiet is how long the files must have been the same before they are read: an editor writes
	// in several steps.
	watchQuiet = 300 * time.Millisecond

	// mostLinks is how many symbolic links are followed on the way to a file, as systems do.
	mostLinks = 40
)

// watch asks for a reload when what the files say has changed, or what is in others that were read
// for them, until ctx is done. It looks at folders, since editors and Kubernetes put new files in
// place of old ones.
func (r *running) watch(ctx context.Context, asked chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the files: %w", err)
	}
	if err := r.follow(w); err != nil {
		_ = w.Close()
		return err
	}
	go func() {
		defer func() { _ = w.Close() }()
		quiet := time.NewTimer(watchQuiet) // what changed since the start
		defer quiet.Stop()
		var looked string  // what there was at the last look
		var last [2]string // what there was, and had been read, when a reload was asked for
		var wrong error
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
			case <-r.reloaded: // there may be others to watch
				look()
			case err := <-w.Errors:
				r.log.Warn("watch the files", "err", err)
				look()
			case <-quiet.C:
				waiting = false
				err := r.follow(w)
				if err != nil && fmt.Sprint(err) != fmt.Sprint(wrong) {
					r.log.Warn("changes of some files are not noticed", "err", err)
				}
				wrong = err
				now, read := r.contents()
				if now != looked { // somebody may still be writing
					looked = now
					look()
				} else if now == read {
					last = [2]string{} // whoever asked: a change is new, also to what was there before
					r.mu.Lock()
					reloads := r.applied + r.rejected
					r.mu.Unlock()
					r.log.DebugContext(ctx, "the files are as they were read", "reloads", reloads)
				} else if is := [2]string{now, read}; is != last {
					last = is
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

// follow has the folders watched in which a change may be one of the files. One that is not there is
// so in the nearest that is.
func (r *running) follow(w *fsnotify.Watcher) error {
	var errs []error
	seen := make(map[string]bool)
	for _, name := range r.watched() {
		for _, folder := range foldersOf(name, mostLinks) {
			for up := ""; !seen[folder] && folder != up; folder, up = filepath.Dir(folder), folder {
				seen[folder] = true
				err := w.Add(folder)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, fmt.Errorf("watch %s: %w", folder, err))
				}
				if !errors.Is(err, fs.ErrNotExist) {
					break
				}
			}
		}
	}
	return errors.Join(errs...)
}

// foldersOf returns those that hold a file and the symbolic links on the way to it.
func foldersOf(name string, links int) []string {
	if at, err := filepath.Abs(name); err == nil {
		name = at
	}
	for at := 0; at < len(name); {
		step := strings.IndexRune(name[at+1:], filepath.Separator)
		if at += 1 + step; step < 0 {
			at = len(name)
		}
		to, err := os.Readlink(name[:at])
		if err != nil || links == 0 {
			continue
		}
		in := filepath.Dir(name[:at])
		if !filepath.IsAbs(to) {
			to = filepath.Join(in, to)
		}
		return append(foldersOf(filepath.Join(to, name[at:]), links-1), in)
	}
	return []string{filepath.Dir(name)}
}

// watched returns the files to watch: those that the command line names, or may name, and what was
// read for them.
func (r *running) watched() (all []string) {
	for _, name := range r.named() {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			name = filepath.Join(name, "*")
		}
		all = append(all, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.AppendSeq(all, maps.Keys(r.read))
}

// named returns the names of files on the command line.
func (r *running) named() []string {
	if len(r.names) == 0 {
		return []string{defaultFile}
	}
	return watchable(r.names)
}

// watchable leaves out standard input.
func watchable(files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(name string) bool { return name == "-" })
}

// noteRead notes what was read, for who watches. Without a configuration it is what was read before.
func (r *running) noteRead(files []string, c loaded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stood = watchable(files)
	if c.Config != nil {
		r.read = c.Read
	}
}

// contents returns what the files are now and what they were when they were read, as hashes.
func (r *running) contents() (now, read string) {
	names, _ := config.Files(r.named()...) // with an error there are none
	r.mu.Lock()
	known, stood := r.read, r.stood
	r.mu.Unlock()
	is, was := []string{fmt.Sprint(names)}, []string{fmt.Sprint(stood)}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		is, was = append(is, name, config.Content(name)), append(was, name, known[name])
	}
	return config.Fingerprint(is...), config.Fingerprint(was...)
}
