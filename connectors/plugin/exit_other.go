//go:build !unix

package plugin

import (
	"os"
	"os/signal"
)

// ignoreSignals leaves stopping to the bridge, so that it can deliver what it has read.
func ignoreSignals() { signal.Ignore(os.Interrupt) }

func exit() { os.Exit(0) }
