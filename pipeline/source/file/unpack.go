package file

import (
	"io"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// unpackers read compressed files, by the ending of their names.
var unpackers = map[string]func(io.Reader) (io.ReadCloser, error){
	".gz": func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
}

// unpacked returns what is in a file of that name.
func unpacked(path string, r io.Reader) (io.ReadCloser, error) {
	if open := unpackers[filepath.Ext(path)]; open != nil {
		return open(r)
	}
	return io.NopCloser(r), nil
}
