//go:build !unix

package file

import "os"

// mayMake knows only whether there is such a folder, where nobody can be asked for more.
func mayMake(dir string) error { return readable(dir + string(os.PathSeparator)) }
