//go:build !edge

package file

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a file may make its reader take.
const maxWindow = 128 << 20

func init() {
	unpackers[".zst"] = func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
}
