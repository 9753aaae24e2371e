package source

import (
	"context"
	"io"
)

const streamBuffer = 256 << 10

// Stream delivers the lines of r until it ends; the last one needs no newline.
// A Read that hangs is not interrupted by ctx, but nothing is delivered after
// ctx has ended.
func (s *Splitter) Stream(ctx context.Context, r io.Reader, out Sink) error {
	buf := make([]byte, streamBuffer)
	var start, end int
	var skip bool
	for {
		if end == len(buf) {
			if start == 0 { // a line longer than the buffer, and it may be up to s.max
				buf = append(buf, make([]byte, len(buf))...)
			} else {
				end = copy(buf, buf[start:end])
				start = 0
			}
		}
		n, err := r.Read(buf[end:])
		end += n
		for start < end {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			batch, used := s.Take(buf[start:end], &skip, err == io.EOF)
			if used == 0 {
				break
			}
			start += used
			if len(batch) == 0 {
				continue
			}
			if err := out(ctx, batch, Nowhere); err != nil {
				return err
			}
		}
		if start == end {
			start, end = 0, 0
			if len(buf) > streamBuffer {
				buf = make([]byte, streamBuffer) // one huge line must not pin its size for ever
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
