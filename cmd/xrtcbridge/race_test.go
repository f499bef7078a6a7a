//go:build race

package main

// raceDetector is whether the test binary, and so the processes that it starts, takes several times the memory.
const raceDetector = true
