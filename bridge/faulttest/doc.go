// Package faulttest has the tools of fault tests: a TCP proxy that breaks
// connections at a byte that the test chooses, a ledger that notices every
// message that was lost, changed or moved, and randomness that can be repeated.
//
// # Decisions
//
// The proxy is a real one on loopback and not a net.Conn with faults inside, so
// that clients of any library and in other processes meet what a network does to them.
//
// A fault holds when [Proxy.Set] returns: a test need not wait until it has arrived.
//
// The ledger believes nobody's counters. Each message carries who it is, and
// each side tells the ledger what it saw.
package faulttest
