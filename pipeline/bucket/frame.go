package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a part of a stream that is checked before it is used: its length and
// the CRC-32C of its data, 4 bytes each, and the data.
const (
	frameHead = 8
	frameData = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameWriter cuts what it is given into frames.
type frameWriter struct {
	to  io.Writer
	err error
}

// flush writes all whole frames of b and returns the rest.
func (f *frameWriter) flush(b []byte) []byte {
	rest := b
	for len(rest) >= frameData {
		f.write(rest[:frameData])
		rest = rest[frameData:]
	}
	return b[:copy(b, rest)]
}

// end writes the last bytes.
func (f *frameWriter) end(b []byte) {
	if b = f.flush(b); len(b) > 0 {
		f.write(b)
	}
}

func (f *frameWriter) write(data []byte) {
	var head [frameHead]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(data)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(data, castagnoli))
	for _, b := range [][]byte{head[:], data} {
		if f.err == nil && len(b) > 0 {
			_, f.err = f.to.Write(b)
		}
	}
}

// frameReader reads frames.
type frameReader struct {
	from io.Reader
	buf  []byte
	rest []byte // of the frame in buf
	n    int    // frames read
}

// next returns up to n bytes, at least one, valid until the next call.
func (f *frameReader) next(n int) ([]byte, error) {
	if len(f.rest) == 0 {
		if err := f.read(); err != nil {
			return nil, err
		}
	}
	part := f.rest[:min(n, len(f.rest))]
	f.rest = f.rest[len(part):]
	return part, nil
}

func (f *frameReader) read() error {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.from, head[:]); err != nil {
		return f.damaged(err)
	}
	f.n++
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 || size > frameData {
		return f.damaged(nil)
	}
	if f.buf == nil {
		f.buf = make([]byte, frameData)
	}
	data := f.buf[:size]
	if _, err := io.ReadFull(f.from, data); err != nil {
		return f.damaged(err)
	}
	if crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return f.damaged(nil)
	}
	f.rest = data
	return nil
}

// damaged words an error of the reader, nil for wrong contents.
func (f *frameReader) damaged(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w in or after frame %d", ErrState, f.n)
	}
	return err
}
