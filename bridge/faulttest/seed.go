package faulttest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// SeedVariable is the environment variable that repeats a run: a decimal number below 2^64.
const SeedVariable = "XRTCBRIDGE_SEED"

// Rand returns randomness for a test, and logs its seed. The same seed gives
// the same numbers; it is taken from [SeedVariable] if that is set. The result
// is for one goroutine.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if v := os.Getenv(SeedVariable); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("read %s: %v", SeedVariable, err)
		}
	}
	t.Logf("%s=%d repeats this", SeedVariable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}
