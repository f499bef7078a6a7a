//go:build !unix

package file

import "io/fs"

// deleted reports whether no name leads to the file any more, which cannot be
// told here: one that has gone counts as deleted.
func deleted(fs.FileInfo) bool { return true }

// identity would return what stays the same when a file is renamed.
func identity(fs.FileInfo) (device, inode uint64) { return 0, 0 }
