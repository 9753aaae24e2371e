//go:build !bouncer_only

package api

import (
	"bytes"
	"compress/gzip"
)

// compresses tells whether large bodies go out compressed.
const compresses = true

func compress(body []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(body) // into memory: can't fail
	w.Close()
	return z.Bytes()
}
