//go:build !unix

package stdio

import "io"

// await cannot tell here.
func await(io.Reader) bool { return false }
