package file

import (
	"bytes"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// record is a file that is not open: read to its end, or not to be read.
type record struct {
	info   fs.FileInfo
	head   []byte
	offset int64         // from where to go on, if the file is found to have grown
	acked  *atomic.Int64 // up to where it was delivered; nil: it is none of ours
	rest   bool          // there is something to read behind offset, wherever the file stands now
	path   string
	id     string
	seen   time.Time
}

// finding is a file that is open and not known yet, or known by a record only.
type finding struct {
	file   *os.File
	info   fs.FileInfo
	head   []byte
	record *record // nil if there is none
}

// find opens the file at path, unless it is known and unchanged. Its identity is that of
// the descriptor: the name may lead elsewhere at any moment.
func (f *follower) find(path string) (*finding, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || f.tracks(info) || f.unchanged(info) {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err = file.Stat()
	if err != nil || f.tracks(info) {
		_ = file.Close()
		return nil, err
	}
	found := &finding{file: file, info: info, head: readHead(file)}
	for _, r := range f.records {
		// An empty front is every file's.
		if len(r.head) > 0 && os.SameFile(r.info, info) && bytes.HasPrefix(found.head, r.head) {
			r.info, r.seen, found.record = info, time.Now(), r
		}
	}
	return found, nil
}

// unchanged reports whether the file that info describes has a record, has nothing
// to read behind that, and is as it was then.
func (f *follower) unchanged(info fs.FileInfo) bool {
	for _, r := range f.records {
		if !r.rest && os.SameFile(r.info, info) && r.info.Size() <= r.offset && r.info.Size() == info.Size() && r.info.ModTime().Equal(info.ModTime()) {
			r.seen = time.Now()
			return true
		}
	}
	return false
}

// ignore records the file at path, unless it is known, so that it will not be read.
func (f *follower) ignore(path string) {
	found, err := f.find(path)
	if err != nil || found == nil {
		return
	}
	if found.record == nil {
		f.record(found, path, found.info.Size())
	} else {
		found.record.pass(found.info)
	}
	_ = found.file.Close()
}

// pass skips what was added to a file that nobody reads any more.
func (r *record) pass(info fs.FileInfo) { r.offset = max(r.offset, info.Size()) }

func (f *follower) record(found *finding, path string, offset int64) {
	f.records = append(f.records, &record{info: found.info, head: found.head, offset: offset, path: path, seen: time.Now()})
}

// closeQuiet closes files beyond maxFollowed, those first that grew least lately.
func (f *follower) closeQuiet() {
	for range len(f.files) - maxFollowed {
		var quiet *tracked
		for _, t := range f.files {
			if t.file != nil && t.gone.IsZero() && t.previous == nil && (quiet == nil || t.grown.Before(quiet.grown)) && t.idle() {
				quiet = t
			}
		}
		if quiet == nil {
			return
		}
		if f.current == quiet {
			f.current = nil
			f.lines.Reset()
		}
		f.records = append(f.records, quiet.close())
	}
}
