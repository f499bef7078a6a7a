package expr

import (
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"time"
)

// World is what expressions see beside their message. A nil function stands for the real one, and
// so does a nil *World. The functions are called from several goroutines at once.
type World struct {
	Now    func() time.Time                 // now
	Rand   func() float64                   // rand, in [0, 1)
	UUID   func() string                    // uuid()
	Getenv func(name string) (string, bool) // env("NAME"), which is read when it is compiled
}

func (w *World) now() time.Time {
	if w == nil || w.Now == nil {
		return time.Now()
	}
	return w.Now()
}

func (w *World) rand() float64 {
	if w == nil || w.Rand == nil {
		return rand.Float64()
	}
	return w.Rand()
}

func (w *World) getenv(name string) (string, bool) {
	if w == nil || w.Getenv == nil {
		return os.LookupEnv(name)
	}
	return w.Getenv(name)
}

func (w *World) uuid(...any) (any, error) {
	if w != nil && w.UUID != nil {
		return w.UUID(), nil
	}
	var b [16]byte
	_, _ = crand.Read(b[:]) // which never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
