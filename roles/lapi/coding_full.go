//go:build !edge

package lapi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// codings are known ones, the best first. A body in zstd is a row of frames, as
// RFC 8878 allows.
var codings = []*coding{{name: "zstd", pack: zstandard}, {
	name: "gzip",
	head: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255},
	pack: deflate,
	tail: func(sum uint32, length int64) []byte {
		b := []byte{1, 0, 0, 0xff, 0xff} // an empty block, the last one
		b = binary.LittleEndian.AppendUint32(b, sum)
		return binary.LittleEndian.AppendUint32(b, uint32(length))
	},
}}

func zstandard(dst, raw []byte) []byte {
	enc := zstandards.Get().(*zstd.Encoder)
	defer zstandards.Put(enc)
	return enc.EncodeAll(raw, dst)
}

// zstandards are 1.2 MB each.
var zstandards = sync.Pool{New: func() any {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(512<<10)) // packs a piece as well as 4 MB do, in 1.2 MB of memory instead of 4.8
	if err != nil {
		panic("BUG: zstd: " + err.Error())
	}
	return enc
}}

// deflate appends blocks that end on a byte's boundary and refer to nothing
// before them (RFC 1951).
func deflate(dst, raw []byte) []byte {
	if n := len(raw); n < 256 { // between two larger ones: a stored block
		return append(append(dst, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8)), raw...)
	}
	out := bytes.NewBuffer(dst)
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(out)
	_, err := w.Write(raw)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(fmt.Sprintf("BUG: deflate into memory: %v", err))
	}
	return out.Bytes()
}

// deflaters are 1.2 MB each.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic("BUG: deflate: " + err.Error())
	}
	return w
}}
