package file

import (
	"io"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// unpackers read compressed files, by the ending of their names.
var unpackers = map[string]func(io.Reader) (io.ReadCloser, error){
	".gz": func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
}

// packedEndings are those of compressed files, also of those that can't be read here.
var packedEndings = []string{".gz", ".zst", ".bz2", ".xz", ".lz4", ".lzma", ".Z"}

// isPacked tells whether a file is compressed, as its name says: nothing is appended to it.
func isPacked(path string) bool { return slices.Contains(packedEndings, filepath.Ext(path)) }

// unpacked returns what is in a file of that name.
func unpacked(path string, r io.Reader) (io.ReadCloser, error) {
	if open := unpackers[filepath.Ext(path)]; open != nil {
		return open(r)
	}
	return io.NopCloser(r), nil
}
