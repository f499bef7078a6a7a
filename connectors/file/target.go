package file

import (
	"errors"
	"os"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// target is a file that is open for writing.
type target struct {
	name    string // in the folder
	path    string // for logs and errors
	file    *os.File
	regular bool
	size    int64     // of the file, all whole messages
	safe    int64     // of that, what is certain to stay
	born    time.Time // for rotation by age

	// The messages of the current Write.
	buf     []byte
	pieces  []piece
	written int // so many of pieces are in the file
	sure    int // so many are delivered
	failed  bool
	touched bool
}

// piece is a message of the batch that goes to a target.
type piece struct {
	index int // in the batch
	size  int // with its newline
}

// add takes up a message.
func (t *target) add(index int, payload []byte) {
	t.buf = append(append(t.buf, payload...), '\n')
	t.pieces = append(t.pieces, piece{index, len(payload) + 1})
}

// flush writes what add took up. After an error the file ends with a whole message.
func (t *target) flush() error {
	if len(t.buf) == 0 {
		return nil
	}
	n, err := t.file.Write(t.buf)
	t.buf = t.buf[:0]
	for t.written < len(t.pieces) && n >= t.pieces[t.written].size {
		n -= t.pieces[t.written].size
		t.size += int64(t.pieces[t.written].size)
		t.written++
	}
	if err == nil {
		return nil
	}
	t.failed = true
	if n > 0 && t.regular {
		err = errors.Join(err, t.cut(t.size))
	}
	return err
}

// settle makes what was written certain, by fsync if sync is true. After an
// error nothing of it counts: the system may have thrown away what it could
// not write, and another fsync would not say so.
func (t *target) settle(sync bool) error {
	if sync && t.regular && t.size != t.safe {
		if err := t.file.Sync(); err != nil {
			t.failed, t.written = true, t.sure
			return errors.Join(err, t.cut(t.safe))
		}
	}
	t.sure, t.safe = t.written, t.size
	return nil
}

func (t *target) cut(size int64) error {
	err := t.file.Truncate(size)
	if err == nil {
		t.size = size
	}
	return err
}

// undelivered returns the index of the first message of the current Write that is not
// delivered, or else.
func (t *target) undelivered(otherwise int) int {
	if t.sure < len(t.pieces) {
		return min(otherwise, t.pieces[t.sure].index)
	}
	return otherwise
}

// reset forgets the current Write.
func (t *target) reset() {
	t.pieces, t.written, t.sure, t.touched = t.pieces[:0], 0, 0, false
	if t.buf = t.buf[:0]; cap(t.buf) > 2*framing.Chunk {
		t.buf = nil
	}
}

// current reports whether the file still stands where it was opened, and sees
// what others did to its length meanwhile.
func (t *target) current(d *folder) bool {
	if !t.regular {
		return true
	}
	here, err := t.file.Stat()
	if err != nil {
		return false
	}
	t.size, t.safe = here.Size(), here.Size()
	there, err := d.root.Stat(t.name)
	return err == nil && os.SameFile(here, there)
}
