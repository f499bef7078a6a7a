//go:build race

package simulation

// The race detector makes schedules ten times as slow.
const schedules = "2000"
