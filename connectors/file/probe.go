package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// Probe opens the files that are there, and the folders of patterns, for reading.
func (s *SourceSettings) Probe(ctx context.Context, _ bridge.Env) (p bridge.Probed, err error) {
	found := 0
	for _, path := range s.matches() {
		info, err := os.Stat(path)
		if err == nil && (info.IsDir() && isPattern(strings.Join(s.Path, "")) || s.old(info)) {
			continue
		}
		if err == nil {
			err = regular(path, info) // a pipe would wait
		}
		if err == nil {
			err = readable(path)
		}
		if err = cmp.Or(ctx.Err(), err); err != nil {
			return p, bridge.Permanent(fmt.Errorf("%w%s", err, mend(err)))
		}
		found++
	}
	for _, pattern := range s.Path {
		dir, _ := doublestar.SplitPattern(filepath.ToSlash(pattern))
		if !isPattern(pattern) {
			if _, err := os.Stat(pattern); err == nil {
				continue
			}
		}
		err := readable(filepath.FromSlash(dir))
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case missing && found > 0 && !s.Follow: // run reads what there is
			p.NotTried = append(p.NotTried, pattern+": "+absent(pattern))
		case missing:
			return p, fmt.Errorf("%s: %s: make it, or correct the path", pattern, absent(pattern))
		case err != nil:
			return p, bridge.Permanent(fmt.Errorf("%w%s", err, mend(err)))
		}
	}
	switch {
	case found > 0:
		p.Tried = append(p.Tried, fmt.Sprintf("opened to read: %d of %s", found, strings.Join(s.Path, ", ")))
	case s.Follow:
		p.NotTried = append(p.NotTried,
			fmt.Sprintf("no file matches %s yet: the source waits for one", strings.Join(s.Path, ", ")))
	default:
		return p, bridge.Permanent(
			fmt.Errorf("no file matches %s: with follow: true the source waits for one", strings.Join(s.Path, ", ")))
	}
	return p, nil
}

func readable(path string) error {
	f, err := owned.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// Probe opens the file if it is there, as the sink does, and else asks whether it may be made.
func (s *SinkSettings) Probe(context.Context, bridge.Env) (p bridge.Probed, err error) {
	dir, name, err := split(s.Path)
	if err != nil {
		return p, err
	}
	dir = filepath.Clean(dir)
	path := filepath.Join(dir, name)
	if info, err := os.Stat(path); name != "" && err == nil {
		if info.Mode()&fs.ModeNamedPipe == 0 { // which would wait, and take what nobody reads
			var f *os.File
			if f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0); err == nil {
				if kind := blocking(f, info); kind != "" {
					err = fmt.Errorf("%s is a %s, not a file; the connector stdio writes there", path, kind)
				}
				err = errors.Join(err, f.Close())
			}
			if err == nil && s.Rotate.rotates() {
				err = mayMake(dir)
			}
		} else {
			err = fmt.Errorf("%s is a pipe, not a file; the connector stdio writes there", path)
		}
		if err != nil {
			return p, bridge.Permanent(fmt.Errorf("%w%s", err, mend(err)))
		}
		p.Tried = []string{"opened " + path + " to append"}
		p.NotTried = []string{"write: it would change something"}
		return p, nil
	}
	there := dir
	for parent := filepath.Dir(there); parent != there; there, parent = parent, filepath.Dir(parent) {
		if _, err := os.Lstat(there); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err := mayMake(there); err != nil {
		return p, bridge.Permanent(fmt.Errorf("make a file in %s: %w%s", there, err, mend(err)))
	}
	p.Tried = []string{"may make files in " + there}
	if there != dir {
		p.NotTried = append(p.NotTried, "folder "+dir+" is not there: run makes it")
	}
	p.NotTried = append(p.NotTried, "make and write a file: it would change something")
	return p, nil
}
