package file

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// lastWhole returns how long the file is up to and with its last newline.
func lastWhole(f *os.File, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// mend moves what stands after the last newline to another file. The fragment
// is safe there before it is cut off here.
func (d *folder) mend(f *os.File, name string, whole, size int64) error {
	aside, _, err := d.open(name + ".torn")
	if err != nil {
		return err
	}
	defer func() { _ = aside.Close() }()
	before, err := aside.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("move torn line aside: %w", err)
	}
	_, err = io.Copy(aside, io.MultiReader(io.NewSectionReader(f, whole, size-whole), bytes.NewReader([]byte{'\n'})))
	if err == nil && d.sync {
		err = aside.Sync()
	}
	if err != nil {
		_ = aside.Truncate(before) // it is tried again, and must not pile up on a full disk
		return fmt.Errorf("move torn line aside: %w", err)
	}
	if err := f.Truncate(whole); err != nil {
		return fmt.Errorf("cut torn line off: %w", err)
	}
	return nil
}
