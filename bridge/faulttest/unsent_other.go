//go:build !linux

package faulttest

import "net"

// unsent returns 0: it is not known how much the other side has taken.
func unsent(*net.TCPConn) int { return 0 }
