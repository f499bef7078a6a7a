package store

import (
	"bytes"
	"testing"
)

// FuzzGeneration: what a checkpoint's generation is taken for whole is what was sealed.
func FuzzGeneration(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(seal(nil))
	f.Add(seal([]byte(`{"offset":7}`)))
	f.Add([]byte(generationMagic + "\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		if data, ok := unseal(stored); ok && !bytes.Equal(seal(data), stored) {
			t.Errorf("%q is taken for %q", stored, data)
		}
		sealed := seal(stored)
		if data, ok := unseal(sealed); !ok || !bytes.Equal(data, stored) {
			t.Errorf("%q came back as %q, %v", stored, data, ok)
		}
		if len(stored) > 0 {
			sealed[len(sealed)-1-int(stored[0])%len(sealed)] ^= 1 << (stored[0] % 8)
			if data, ok := unseal(sealed); ok {
				t.Errorf("a flipped bit was not noticed: %q", data)
			}
		}
	})
}
