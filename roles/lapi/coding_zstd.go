//go:build !edge

package lapi

import "github.com/klauspost/compress/zstd"

// moreCodings are those that a router doesn't need. A body is a row of frames,
// as RFC 8878 allows.
var moreCodings = []*coding{{name: "zstd", pack: zstandard()}}

func zstandard() func([]byte) []byte {
	// It is safe for concurrent use, and makes its tables when it is first used.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("BUG: zstd: " + err.Error())
	}
	return func(raw []byte) []byte { return enc.EncodeAll(raw, nil) }
}
