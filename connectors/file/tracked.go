package file

import (
	"bytes"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// headSize is how much of the front of a file tells it from others. An inode alone does
// not: a new file often gets that of one just deleted.
const headSize = 1 << 10

// tracked is a file that is followed. Its descriptor keeps it readable whatever
// happens to its name, and keeps its inode from being used again.
type tracked struct {
	path   string // where it was found, the topic of its lines
	id     string // tells its lines from those of all other files, together with their offset
	file   *os.File
	info   fs.FileInfo   // of the time of opening, for os.SameFile
	head   []byte        // up to headSize bytes of its front, as far as known
	offset int64         // behind the last line taken
	acked  *atomic.Int64 // behind the last line delivered
	end    int64         // the most that was seen of it

	skipped framing.Skipped // behind offset, while another file is read

	previous *tracked // stood at path before this one, nil if read to the end
	replaced bool     // another one stands at path now
	gone     time.Time
	grown    time.Time
	drained  bool // read to the end, no unfinished line
	warned   bool
}

func newOffset(n int64) *atomic.Int64 {
	o := new(atomic.Int64)
	o.Store(n)
	return o
}

func readHead(f *os.File) []byte {
	var buf [headSize]byte
	n, _ := f.ReadAt(buf[:], 0)
	return bytes.Clone(buf[:n])
}

// sameHead reports whether the front of the file is what it was, and learns
// more of it if the file was shorter. It says no after the file was cut and written anew.
func (t *tracked) sameHead() bool {
	var buf [headSize]byte
	n, _ := t.file.ReadAt(buf[:], 0)
	if !bytes.HasPrefix(buf[:n], t.head) {
		return false
	}
	if n > len(t.head) {
		t.head = bytes.Clone(buf[:n])
	}
	return true
}

// holdsTaken reports whether the file, which was cut, still begins with the lines that were
// taken from it, as far as its length and its front tell. It forgets what stood behind them.
func (t *tracked) holdsTaken() bool {
	head := readHead(t.file)
	if t.size() < t.offset || !bytes.HasPrefix(head, t.head[:min(int64(len(t.head)), t.offset)]) {
		return false
	}
	t.head, t.end = head, t.offset
	return true
}

// size returns the length of the file, 0 if it cannot be told.
func (t *tracked) size() int64 {
	info, err := t.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// over reports whether nobody will add to the file any more, as far as one can tell.
func (t *tracked) over(now time.Time, grace time.Duration) bool {
	if t.gone.IsZero() || now.Sub(t.gone) < grace || now.Sub(t.grown) < grace {
		return false
	}
	// A file that was renamed and has no successor is still the writer's.
	if t.replaced {
		return true
	}
	info, err := t.file.Stat()
	return err != nil || deleted(info)
}

// idle reports whether the file was read to its end and has not grown.
func (t *tracked) idle() bool { return t.drained && t.size() == t.offset }

// close closes the file and says where to go on, should it turn up again.
func (t *tracked) close() *record {
	info, err := t.file.Stat()
	if err != nil {
		info = t.info
	}
	_ = t.file.Close()
	t.file = nil
	return &record{info: info, head: t.head, offset: t.offset, acked: t.acked, path: t.path, id: t.id, seen: time.Now()}
}
