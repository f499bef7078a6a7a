//go:build misordered

package crashpoint

// Misordered is whether the engine acknowledges first.
const Misordered = true
