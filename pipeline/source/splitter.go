package source

import (
	"bytes"
	"time"
	"unsafe"

	"cs/pipeline/event"
)

// MaxLine is the length from which a line is cut when nothing else is said.
const MaxLine = 1 << 20

// batchLines bounds a batch: enough to make the cost of handing it over and of
// sharing it among cores vanish, few enough to stay in the cache.
const batchLines = 1024

// Splitter cuts bytes into lines. It keeps no bytes itself: the lines are
// views of what it is given. The zero value isn't usable; see NewSplitter.
type Splitter struct {
	Cut int64 // lines that were longer than the limit

	line  event.Line // what all lines have in common
	mode  event.Mode // that of line, for those that are read as they come
	max   int
	now   func() time.Time
	batch []event.Line
}

// NewSplitter returns a splitter whose lines are copies of line with their
// text and time. Lines longer than maxLine bytes (0: MaxLine) are delivered cut.
func NewSplitter(line event.Line, maxLine int, now func() time.Time) *Splitter {
	if maxLine <= 0 {
		maxLine = MaxLine
	}
	return &Splitter{line: line, mode: line.Mode, max: maxLine, now: now, batch: make([]event.Line, 0, batchLines)}
}

// SetSource changes the Src of the lines to come.
func (s *Splitter) SetSource(src string) { s.line.Src = src }

// SetWritten says that the lines to come were written at a time at the latest, while
// nobody read them; the zero time, that they are read as they come.
func (s *Splitter) SetWritten(at time.Time) {
	s.line.Time, s.line.Mode = at, s.mode
	if !at.IsZero() && s.mode == event.Live {
		s.line.Mode = event.CatchUp
	}
}

// Max returns the length from which lines are cut.
func (s *Splitter) Max() int { return s.max }

// Take cuts up to 1024 lines off the front of data and returns them with the
// number of bytes behind them. They are valid until the bytes change or Take is
// called again. A last line without newline stays, except when final is set or it is
// over the limit. skip is the state of the stream: the beginning of the line
// that data starts with has been delivered, its rest goes.
//
// Empty lines are left out, and so are the NULs at the start of a line: a
// program that goes on at its old offset after its log was truncated leaves a
// hole there.
func (s *Splitter) Take(data []byte, skip *bool, final bool) (batch []event.Line, n int) {
	batch = s.batch[:0]
	line := s.line
	if line.Time.IsZero() {
		line.Time = s.now()
	}
	for n < len(data) && len(batch) < batchLines {
		rest := data[n:]
		end := bytes.IndexByte(rest, '\n')
		if *skip {
			if end < 0 {
				n = len(data)
				break
			}
			n += end + 1
			*skip = false
			continue
		}
		if rest[0] == 0 {
			n += len(rest) - len(bytes.TrimLeft(rest, "\x00"))
			continue
		}
		size := end + 1
		if end < 0 {
			if !final && len(rest) <= s.max {
				break
			}
			end, size = len(rest), len(rest)
			if end > s.max && !final {
				size, *skip = s.max, true
			}
		}
		text := rest[:end]
		if len(text) > s.max {
			text = text[:s.max]
			s.Cut++
		} else if end > 0 && text[end-1] == '\r' {
			text = text[:end-1]
		}
		n += size
		if len(text) == 0 {
			continue
		}
		line.Raw = unsafe.String(unsafe.SliceData(text), len(text))
		batch = append(batch, line)
	}
	s.batch = batch
	return batch, n
}
