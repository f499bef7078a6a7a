package bridge

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadRegular reads a file of at most that many bytes. Another one than a regular file is an error:
// it might never end.
func ReadRegular(name string, most Size) ([]byte, error) {
	info, err := os.Stat(name) // opening a device may do something
	if err == nil {
		err = regular(name, info)
	}
	if err != nil {
		return nil, err
	}
	// A pipe may be there by now, and would wait for who writes to it.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err == nil {
		err = regular(name, info)
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && Size(len(text)) > most {
		err = fmt.Errorf("%s is larger than %v", name, most)
	}
	return text, err
}

func regular(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	return nil
}
