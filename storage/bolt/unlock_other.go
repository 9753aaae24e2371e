//go:build !unix || solaris || aix

package bolt

import "os"

// unlock does nothing: here closing a file ends its locks.
func unlock(*os.File) {}
