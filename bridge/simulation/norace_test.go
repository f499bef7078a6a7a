//go:build !race

package simulation

const schedules = "20000"
