//go:build !crashpoints

package main

import "github.com/xrtcbridge/xrtcbridge/bridge"

// tested returns the connectors as they are.
func tested(all []bridge.Connector) []bridge.Connector { return all }
