//go:build !bouncer_only

package platform

import (
	"compress/gzip"
	"io"
)

var compressor = func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
