//go:build bouncer_only

package platform

import "io"

// compressor is nil: it weighs a hundredth of this build.
var compressor func(w io.Writer) io.WriteCloser
