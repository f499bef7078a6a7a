package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// opened is a file that is open for reading.
type opened struct {
	file   *os.File
	info   fs.FileInfo
	inode  inode
	packed bool
	body
}

// open opens a regular file, and unpacks it if it begins as a packed one does. What it is, is that of
// the descriptor: the name may lead elsewhere at any moment.
func open(path string) (*opened, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err // opening a device may do something
	}
	f, err := owned.Open(path)
	if err != nil {
		return nil, err
	}
	o := &opened{file: f, body: f}
	if o.info, err = f.Stat(); err == nil {
		o.inode, err = inodeOf(f, path, o.info), regular(path, o.info)
	}
	if err == nil {
		err = owned.Reached(path, o.info)
	}
	if err == nil {
		err = o.unpack(path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return o, nil
}

func (o *opened) close() {
	if u, ok := o.body.(*unpacker); ok {
		u.close()
	}
	_ = o.file.Close()
}

// taken returns how many of the bytes on the disk it took to come to a place in what is read.
func (o *opened) taken(at int64) int64 {
	u, ok := o.body.(*unpacker)
	if !ok {
		return at
	}
	n, _ := u.packed.Seek(0, io.SeekCurrent) // as it is always able to
	return n
}

// regular returns an error that says what a file is that has no lines to read, and what to use.
func regular(path string, info fs.FileInfo) error {
	kind := "a device"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return fmt.Errorf("%s is a folder: write a pattern for the files in it, such as %s/*", path, path)
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("%s is %s, not a file; the connector stdio reads pipes, "+
		"terminals and devices: xrtcbridge run … < %s", path, kind, path)
}

func (o *opened) unpack(path string) error {
	front := bytesAt(o.file, 0, 10)
	if len(front) == 10 && string(front[4:]) == "1AY&SY" {
		front[3] = '1' // of bzip2, where it is the size of its blocks
	}
	for magic, kind := range map[string]string{
		"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ\x00": "xz", "PK\x03\x04": "zip",
		"\x04\x22\x4d\x18": "lz4", "BZh11AY&SY": "bzip2",
	} {
		if !bytes.HasPrefix(front, []byte(magic)) {
			continue
		}
		if o.packed = kind == "gzip" || kind == "zstd"; !o.packed {
			return fmt.Errorf("%s is packed by %s, and only gzip and zstd can be unpacked here: unpack it, "+
				"or leave it out by exclude", path, kind)
		}
		o.body = &unpacker{file: o.file, zstd: kind == "zstd"}
	}
	return nil
}

// unpacker unpacks a file. Reading forwards is quick, and backwards begins anew.
type unpacker struct {
	file io.ReaderAt
	zstd bool
	from io.ReadCloser // nil: at the beginning
	at   int64

	packed *io.SectionReader // what from reads, once it has begun
}

// ReadAt returns [io.ErrUnexpectedEOF] if the packed file is cut off.
func (u *unpacker) ReadAt(p []byte, off int64) (n int, err error) {
	if u.from == nil || off < u.at {
		if err := u.begin(); err != nil {
			return 0, err
		}
	}
	skipped, err := io.CopyN(io.Discard, u.from, off-u.at)
	for u.at += skipped; n < len(p) && err == nil; {
		var more int
		more, err = u.from.Read(p[n:])
		n += more
	}
	if u.at += int64(n); err != nil {
		u.close()
	}
	return n, err
}

// mostWindow is how much of what was unpacked zstd may refer to, which is kept; it is what the
// program zstd unpacks without --memory.
const mostWindow = 128 << 20

func (u *unpacker) begin() (err error) {
	u.close()
	u.packed, u.at = io.NewSectionReader(u.file, 0, 1<<62), 0
	if !u.zstd {
		g, err := gzip.NewReader(u.packed)
		if err == nil {
			u.from = g
		} else if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	d, err := zstd.NewReader(u.packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(mostWindow))
	if err == nil {
		u.from = d.IOReadCloser()
	}
	return err
}

func (u *unpacker) close() {
	if u.from != nil {
		_ = u.from.Close()
		u.from = nil
	}
}
