package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
)

// window is how much of the front of a file, and of what stands before the offset, tells it from
// others.
const window = 1 << 10

// A mark is the length and the checksum of some bytes.
type mark struct {
	Size int    `json:"size"`
	Sum  string `json:"sum,omitempty"`
}

func markOf(b []byte) mark {
	if len(b) == 0 {
		return mark{}
	}
	sum := sha256.Sum256(b)
	return mark{len(b), hex.EncodeToString(sum[:12])}
}

// inode is what stays the same when a file is renamed. Inodes are used again; the time of birth,
// where the system has it, tells one from the next.
type inode struct {
	Device uint64 `json:"dev,omitempty"`
	Number uint64 `json:"ino,omitempty"`
	Born   int64  `json:"born,omitempty"` // in ns since 1970; 0 is unknown
}

// is reports whether both are the same file as far as inodes can tell. The number of a device may
// change when the machine starts, and then the birth must be the same.
func (a inode) is(b inode) bool {
	born := a.Born == b.Born && a.Born != 0
	return a.Number != 0 && a.Number == b.Number && (born || a.Device == b.Device && (a.Born == 0 || b.Born == 0))
}

// key returns what a look finds files by: without the birth, which only an open file tells.
func (a inode) key() inode { return inode{Device: a.Device, Number: a.Number} }

// record is what is known of a file, and what the checkpoint has of it.
type record struct {
	Path    string `json:"path"` // where it first stood: the topic of its lines
	At      string `json:"at"`   // where it stood last
	ID      string `json:"id"`   // tells its lines from those of all other files, together with their offset
	Inode   inode  `json:"inode"`
	Front   mark   `json:"front"`             // of what was read; if nothing was, of what was seen
	Offset  int64  `json:"offset"`            // behind the last line delivered, in unpacked bytes
	Tail    mark   `json:"tail"`              // of what stands before the offset
	Size    int64  `json:"size"`              // in unpacked bytes, as far as seen
	Pending int    `json:"pending,omitempty"` // lines that were seen behind the offset
	Left    bool   `json:"left,omitempty"`    // it was delivered to its end, or that is lost, and its writer has left it
	Done    bool   `json:"done,omitempty"`    // it is not to be read, whatever is added
}

// sound reports whether r can have been saved: what it says is read, in sizes that it gives.
func (r *record) sound() bool {
	marks := r.Front.Size >= 0 && r.Front.Size <= window && r.Tail.Size >= 0 && r.Tail.Size <= window
	return marks && r.Offset >= int64(r.Tail.Size) && r.Size >= 0 && r.Pending >= 0
}

// facts are what a file on the disk says about a record.
type facts struct {
	own     bool // it has the inode of the record
	holds   bool // what was read is there: front and tail agree
	lines   int  // how many whole lines of it are there, 2 standing for more
	rotated bool // its name is one that rotation gives to the file of the record
	rivals  int  // how many other files, or records, agree as well
}

// weight says how much there is for a file that holds what was read. 0 is too little: one line may
// be the header of both.
func (f facts) weight() int {
	switch {
	case f.own:
		return 3
	case f.lines > 1:
		return 2
	case f.rotated:
		return 1
	}
	return 0
}

type verdict int

const (
	fresh     verdict = iota // another file: it is read from its start
	same                     // the file of the record: it is read on
	rewritten                // in its inode stands something else
	unsure                   // it may be the same: it is read from its start, since twice beats never
)

// judge says what a file is to a record.
func judge(f facts) verdict {
	switch {
	case f.own && f.holds:
		return same
	case f.own:
		return rewritten
	case !f.holds:
		return fresh
	case f.rivals > 0 || f.weight() == 0:
		return unsure
	default:
		return same
	}
}

// A body is the content of a file, unpacked. Reading beyond its end gives fewer bytes and io.EOF.
type body interface{ io.ReaderAt }

func bytesAt(b body, from int64, n int) []byte {
	buf := make([]byte, n)
	got, _ := b.ReadAt(buf, from)
	return buf[:got]
}

// linesBefore counts the lines before the offset, as far as it matters.
func linesBefore(b body, offset int64) int {
	return min(2, bytes.Count(bytesAt(b, 0, int(min(offset, 64<<10))), []byte{'\n'}))
}

func inodeOf(f *os.File, path string, info fs.FileInfo) inode {
	i := fileID(info, path)
	i.Born = born(f)
	return i
}
