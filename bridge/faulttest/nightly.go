//go:build nightly

package faulttest

// Nightly is whether tests take their long form.
const Nightly = true
