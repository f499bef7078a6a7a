package bridge

import (
	"fmt"
	"io"
	"os"
)

// ReadRegular reads a file of at most that many bytes. Another one than a regular file is an error:
// it might never end.
func ReadRegular(name string, most Size) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && Size(len(text)) > most {
		err = fmt.Errorf("%s is larger than %v", name, most)
	}
	return text, err
}
