package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A place is how far a file was delivered, in a checkpoint. It names the file by what stays when its name changes.
type place struct {
	Path   string    `json:"path"` // where it first stood
	ID     string    `json:"id"`
	Device uint64    `json:"dev,omitempty"`
	Inode  uint64    `json:"ino,omitempty"`
	Head   string    `json:"head"` // checksum of the first Front bytes
	Front  int       `json:"front"`
	Offset int64     `json:"offset"` // behind the last line delivered
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"` // of the last change
}

func headSum(head []byte) string {
	sum := sha256.Sum256(head)
	return hex.EncodeToString(sum[:12])
}

func newPlace(path, id string, info fs.FileInfo, head []byte, offset int64) place {
	p := place{Path: path, ID: id, Head: headSum(head), Front: len(head), Offset: offset, Size: info.Size(), Time: info.ModTime()}
	p.Device, p.Inode = identity(info)
	return p
}

// is reports whether the file is the one of the place. Without the same inode its front must be long enough to tell it from others: it
// may be a copy, made to cut the original.
func (p *place) is(path string, info fs.FileInfo, head []byte) bool {
	if len(head) < p.Front || headSum(head[:p.Front]) != p.Head {
		return false
	}
	device, inode := identity(info)
	if inode != 0 && device == p.Device && inode == p.Inode || inode == 0 && path == p.Path {
		return true
	}
	return p.Front == headSize && info.Size() >= p.Offset
}

// places returns how far every file was delivered.
func (f *follower) places() []place {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []place{} // that there is none is worth saving
	for _, t := range f.files {
		if t.file != nil {
			info, err := t.file.Stat()
			if err != nil {
				info = t.info
			}
			all = append(all, newPlace(t.path, t.id, info, t.head, t.acked.Load()))
		}
	}
	for _, r := range f.records {
		if r.acked != nil {
			all = append(all, newPlace(r.path, r.id, r.info, r.head, r.acked.Load()))
		}
	}
	return all
}

// recall loads the checkpoint, if there is one, so that the first look goes on where the last instance ended.
func (f *follower) recall(ctx context.Context) error {
	data, err := f.checkpoint.Load(ctx)
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	if data == nil {
		return nil
	}
	var places []place
	if err := json.Unmarshal(data, &places); err != nil {
		return bridge.Permanent(fmt.Errorf("load checkpoint: %w", err))
	}
	paths, err := matches(f.settings.Path)
	if err != nil {
		return bridge.Permanent(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started, f.resuming = true, true
	bases := f.bases()
	for _, p := range places {
		bases = append(bases, p.Path)
	}
	bases = append(bases, paths...)
	r := &recaller{follower: f, places: places, taken: make([]bool, len(places))}
	siblings := f.names.siblings(compact(bases))
	for _, path := range compact(bases) {
		r.look(path, path)
	}
	for _, s := range siblings {
		r.look(s.path, s.base)
	}
	r.match()
	r.passOld()
	for i := range places {
		if p := &places[i]; !r.taken[i] && p.Size > p.Offset {
			f.log.Warn("a file is gone that was not read to its end, what was unread in it is lost", "path", p.Path, "unread", p.Size-p.Offset)
		}
	}
	return nil
}

// recaller finds the files of places.
type recaller struct {
	*follower
	places []place
	taken  []bool
	files  []*candidate // siblings in the order in which they were written, behind the files that have no other name
}

type candidate struct {
	path, base string
	info       fs.FileInfo
	head       []byte
	place      int // index, or -1
}

func (r *recaller) look(path, base string) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || r.names.packed.MatchString(path) {
		return
	}
	r.files = append(r.files, &candidate{path, base, info, readHead(file), -1})
}

// match gives each place its file: the very one, or else a copy.
func (r *recaller) match() {
	for _, same := range []bool{true, false} {
		for i := range r.places {
			p := &r.places[i]
			for _, c := range r.files {
				device, inode := identity(c.info)
				if r.taken[i] || c.place >= 0 || same != (inode == 0 || device == p.Device && inode == p.Inode) || !p.is(c.path, c.info, c.head) {
					continue
				}
				r.taken[i], c.place = true, i
				acked := newOffset(p.Offset)
				r.records = append(r.records, &record{
					info: c.info, head: c.head[:p.Front], offset: p.Offset, acked: acked, path: p.Path, id: p.ID, seen: time.Now(),
					rest: c.info.Size() > p.Offset || c.path != p.Path, // its writer may not know yet that it was renamed
				})
			}
		}
	}
}

// passOld records the rotated files that had been read, or passed, before the last instance ended: those that were written before the one
// that it was at. What was rotated since is not known, and will be read.
func (r *recaller) passOld() {
	for i, c := range r.files {
		if c.path == c.base || c.place >= 0 || r.isNew(i, c) {
			continue
		}
		r.record(&finding{info: c.info, head: c.head}, c.path, c.info.Size())
	}
}

// isNew reports whether the unknown sibling c was made since the checkpoint.
func (r *recaller) isNew(at int, c *candidate) bool {
	newest := time.Time{}
	known := false
	for i := range r.places {
		if p := &r.places[i]; p.Path == c.base {
			known = true
			if p.Time.After(newest) {
				newest = p.Time
			}
		}
	}
	if !known {
		return false // its base was not followed then
	}
	for i, other := range r.files {
		if other.base != c.base || other.place < 0 {
			continue
		}
		if other.path == c.base || i > at {
			return false // the base is still what it was, or what was read came later
		}
		newest = time.Time{} // the order decides
	}
	return c.info.ModTime().After(newest)
}
