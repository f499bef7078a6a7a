package host

import (
	"os"
	"sync"
	"testing"
)

// Hosts that start at the same time clear away what died, and never each other's folders.
func TestFoldersOfHostsThatStartTogether(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var hosts sync.WaitGroup
	for range 8 {
		hosts.Go(func() {
			for range 100 {
				f, err := newFolder()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(f.path); err != nil {
					t.Error(err)
				}
				if err := f.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	hosts.Wait()
}
