package file

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
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

// mend sees to it that the file ends with a whole message. What stands behind its last newline is
// moved to another file, where it is safe before it is cut off here.
func (s *sink) mend(t *target) error {
	if !t.regular || t.size == 0 {
		return nil
	}
	whole, err := lastWhole(t.file, t.size)
	if err != nil || whole == t.size {
		return err
	}
	aside, _, err := s.folder.open(t.name + ".torn")
	if err != nil {
		return err
	}
	defer func() { _ = aside.Close() }()
	before, err := aside.Seek(0, io.SeekEnd)
	if err == nil {
		torn := io.NewSectionReader(t.file, whole, t.size-whole)
		_, err = io.Copy(aside, io.MultiReader(torn, strings.NewReader("\n")))
		if err == nil && s.settings.Sync {
			err = aside.Sync()
		}
		if err != nil {
			_ = aside.Truncate(before) // it is tried again, and must not pile up on a full disk
		}
	}
	if err == nil {
		err = t.file.Truncate(whole)
	}
	if err != nil {
		return fmt.Errorf("move torn line aside: %w", err)
	}
	s.log.Warn("moved a torn line aside", "path", t.path, "to", t.path+".torn", "bytes", t.size-whole)
	t.size = whole
	return nil
}
