//go:build race

package simulation

// The race detector makes schedules ten times as slow, and planted faults are found without it.
const (
	schedules = "2000"
	mutate    = false
)
