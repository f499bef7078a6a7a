package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// stamp is what rotation puts behind a name: the local time, as in at. It sorts by time.
const stamp = ".20060102T150405.000"

// due reports whether t is to be set aside before size bytes are added; files made after since
// are current.
func (r *Rotate) due(t *target, size int, since time.Time) bool {
	has := t.size + int64(len(t.buf))
	switch {
	case !t.regular:
		return false
	case has == 0:
		t.born = time.Now() // the age is that of what is in it
		return false
	}
	return r.Size > 0 && has+int64(size) > int64(r.Size) || !t.born.After(since)
}

// rotateLater sees to it that files are set aside when they are due, also while no message comes.
func (s *sink) rotateLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.settings.Rotate; r.Age > 0 || r.At != "" {
		s.timer = time.AfterFunc(r.pause(time.Now()), s.rotateDue)
	}
}

// rotateDue is called by the timer.
func (s *sink) rotateDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	now := time.Now()
	since := s.settings.Rotate.since(now)
	for _, t := range slices.Collect(maps.Values(s.files)) {
		if !t.current(s.folder) || !s.settings.Rotate.due(t, 0, since) {
			continue
		}
		if err := s.rotate(t, now); err != nil {
			s.log.Warn("a file cannot be rotated, trying again at the next message", "path", t.path, "err", err)
		}
	}
	s.timer.Reset(s.settings.Rotate.pause(now))
}

// setAside renames a file, never over another one, and returns all that were set aside, oldest
// first. The new name sorts behind the old ones whatever the clock says, since keep goes by that.
func (d *folder) setAside(name string, now time.Time) ([]string, error) {
	old, err := d.rotated(name)
	if err != nil {
		return nil, fmt.Errorf("rotate: %w", err)
	}
	// The time on the wall, which is counted on as if clocks were never put back.
	wall := time.Date(now.Year(), now.Month(), now.Day(), now.Hour(), now.Minute(), now.Second(),
		now.Nanosecond(), time.UTC).Truncate(time.Millisecond)
	if n := len(old); n > 0 {
		last, _ := time.Parse(stamp, old[n-1][len(name):])
		if !last.Before(wall) {
			wall = last.Add(time.Millisecond)
		}
	}
	for ; ; wall = wall.Add(time.Millisecond) {
		aside := name + wall.Format(stamp)
		f, err := d.root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // takes the name
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = errors.Join(f.Close(), d.root.Rename(name, aside))
		}
		if err != nil {
			if info, statErr := d.root.Stat(aside); statErr == nil && info.Size() == 0 {
				_ = d.root.Remove(aside) // keep would count it
			}
			return nil, fmt.Errorf("rotate: %w", err)
		}
		return append(old, aside), nil
	}
}

// isRotated reports whether a file has the name of a rotated one.
func isRotated(name string) bool {
	i := max(0, len(name)-len(stamp))
	return isRotatedOf(name[:i], name)
}

// isRotatedOf reports whether a file was set aside that was called base.
func isRotatedOf(base, name string) bool {
	rest, found := strings.CutPrefix(name, base)
	t, err := time.Parse(stamp, rest)
	return found && err == nil && t.Year() < 9999 // behind that there is no later one
}

// rotated returns the files that rotation made of name, oldest first.
func (d *folder) rotated(name string) (old []string, err error) {
	entries, err := fs.ReadDir(d.root.FS(), filepath.ToSlash(filepath.Dir(name)))
	for _, e := range entries { // sorted
		path := filepath.Join(filepath.Dir(name), e.Name())
		if isRotatedOf(name, path) && e.Type().IsRegular() {
			old = append(old, path)
		}
	}
	return old, err
}

var (
	date  = regexp.MustCompile(`20\d\d([-_./]?\d\d){1,2}([-_./T]?\d\d){0,3}`)
	digit = regexp.MustCompile(`\d`)
)

// dateIn returns which part of a name is the date that the template puts there: it differs for a
// message of another time, or is that of now. One that the message brought along is none.
func (s *sink) dateIn(m *bridge.Message, name string) (from, to int, found bool) {
	then := *m
	then.Time = m.Time.AddDate(-1, -1, -1)
	other, err := s.settings.Path.Render(&then)
	other = strings.TrimPrefix(other, s.dir)
	source, _ := s.settings.Path.(fmt.Stringer)
	for _, at := range date.FindAllStringIndex(name, -1) {
		span := name[at[0]:at[1]]
		if err == nil && len(other) == len(name) && other[at[0]:at[1]] != span {
			return at[0], at[1], true
		}
		digits := strings.Join(digit.FindAllString(span, -1), "")
		today := time.Now().Format("20060102")
		if source != nil && strings.Contains(source.String(), "now") &&
			strings.HasPrefix(digits, today[:min(len(digits), len(today))]) {
			return at[0], at[1], true
		}
	}
	return 0, 0, false
}

// dated returns the files whose names differ from that of a new one in the date only, and what was
// set aside of them, oldest first.
func (s *sink) dated(m *bridge.Message, name string) (old []string, err error) {
	from, to, found := s.dateIn(m, name)
	if !found {
		return nil, nil
	}
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace
	pattern := filepath.ToSlash(literal(name[:from]) + digit.ReplaceAllString(name[from:to], "[0-9]") + literal(name[to:]))
	paths, err := fs.Glob(s.folder.root.FS(), pattern+"*")
	for _, p := range paths {
		if len(p) == len(name) && p != filepath.ToSlash(name) || isRotatedOf(p[:len(name)], p) {
			old = append(old, filepath.FromSlash(p))
		}
	}
	// What was set aside is older than what has its name.
	slices.SortFunc(old, func(a, b string) int {
		return cmp.Or(cmp.Compare(a[from:to], b[from:to]), cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return old, err
}

// prune removes the oldest files, so that as many stay as the settings say.
func (s *sink) prune(old []string) {
	for keep := s.settings.Rotate.Keep; keep > 0 && len(old) > keep; old = old[1:] {
		if err := s.folder.root.Remove(old[0]); err != nil {
			s.log.Warn("a rotated file stays that should go", "path", filepath.Join(s.folder.dir, old[0]), "err", err)
		}
	}
}
