package file

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"cs/pipeline/source"
)

// maxPacked bounds how many compressed files are opened when one is searched for:
// the newest ones.
const maxPacked = 100

// packed is what is in a compressed file. It is read once, from the start on, in a
// buffer that exists only while it is read.
type packed struct {
	path string // its ending says how
	head []byte // the first bytes, up to source.MaxHead

	in  io.ReadCloser
	buf []byte
	at  int64 // of the byte that buf begins with
	err error // why there is nothing behind buf; io.EOF at the end
}

// unpackable tells whether files of that name can be read.
func unpackable(path string) bool { return unpackers[filepath.Ext(path)] != nil }

// openPacked makes r, which was just opened at path, one of what is in the file.
func (r *reader) openPacked(path string) error {
	z, err := unpacked(path, r.f)
	if err != nil {
		return err
	}
	defer z.Close()
	head := make([]byte, source.MaxHead)
	n, err := io.ReadFull(z, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	r.packed = &packed{path: path, head: head[:n]}
	_, err = r.same(new([source.MaxHead]byte)) // so that its position is that of no other file
	return err
}

// size returns the number of bytes; before that is known, more than there can be.
func (p *packed) size() int64 {
	if p.err == io.EOF {
		return p.at + int64(len(p.buf))
	}
	return math.MaxInt64
}

// fill reads on until the buffer is full.
func (p *packed) fill(f *os.File) {
	if p.in == nil {
		p.buf, p.at, p.err = make([]byte, 0, bufferSize), 0, nil
		if _, p.err = f.Seek(0, io.SeekStart); p.err == nil {
			p.in, p.err = unpacked(p.path, f)
		}
	}
	if len(p.buf) == cap(p.buf) { // a long line
		p.buf = append(make([]byte, 0, 2*cap(p.buf)), p.buf...)
	}
	for p.err == nil && len(p.buf) < cap(p.buf) {
		var n int
		n, p.err = p.in.Read(p.buf[len(p.buf):cap(p.buf)])
		p.buf = p.buf[:len(p.buf)+n]
	}
}

func (p *packed) close() {
	if p.in != nil {
		p.in.Close()
	}
	p.in, p.buf = nil, nil
}

// unpack delivers what is in a compressed file behind r.off. more tells that its turn was
// over before the end.
func (r *reader) unpack(ctx context.Context, s *Source, out source.Sink) (more bool, err error) {
	s.split.SetSource(r.path)
	p := r.packed
	for budget := turn; budget > 0; budget -= bufferSize {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		p.fill(r.f)
		used := int(min(r.off-p.at, int64(len(p.buf)))) // what was read before it was compressed
		if p.at+int64(used) == r.off {
			n, err := r.deliver(ctx, s, p.buf[used:], p.err == io.EOF, out)
			if err != nil {
				return false, err
			}
			used += n
		}
		p.at += int64(used)
		p.buf = append(p.buf[:0], p.buf[used:]...)
		switch p.err {
		case nil:
		case io.EOF:
			return false, nil
		default:
			return false, &readError{fmt.Errorf("cannot unpack %s: %w", p.path, p.err)}
		}
	}
	return true, nil
}
