package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unsafe"
)

// The journal export format (https://systemd.io/JOURNAL_EXPORT_FORMATS):
// entries are fields and an empty line; a field is "NAME=text\n", or, where the
// value isn't plain text, "NAME\n", its length in 8 bytes, little endian, the
// value and "\n".

// entry is the part of a journal entry that is used. It is valid until the
// next one is read.
type entry struct {
	cursor, host, ident, comm, pid, syslogPID, message []byte
	micros                                             int64 // unix
	cut                                                int   // fields that were too long
}

// field returns where the value of a field goes; nil if it isn't used.
func (e *entry) field(name []byte) *[]byte {
	switch string(name) {
	case "__CURSOR":
		return &e.cursor
	case "_HOSTNAME":
		return &e.host
	case "SYSLOG_IDENTIFIER":
		return &e.ident
	case "_COMM":
		return &e.comm
	case "_PID":
		return &e.pid
	case "SYSLOG_PID":
		return &e.syslogPID
	case "MESSAGE":
		return &e.message
	}
	return nil
}

func (e *entry) reset() {
	for _, f := range []*[]byte{&e.cursor, &e.host, &e.ident, &e.comm, &e.pid, &e.syslogPID, &e.message} {
		*f = (*f)[:0]
	}
	e.micros, e.cut = 0, 0
}

var errFormat = errors.New("this is not the journal export format")

const (
	// exportBuffer must hold a field's name; what is longer than names are is
	// read in pieces.
	exportBuffer = 64 << 10
	// maxField refuses lengths that no journal has (its own limit is 768 MiB).
	maxField = 1 << 30
)

// exportReader reads entries.
type exportReader struct {
	in   *bufio.Reader
	max  int // bytes of a value that are kept
	e    entry
	time []byte
	some bool // the entry has fields
}

func newExportReader(r io.Reader, max int) *exportReader {
	return &exportReader{in: bufio.NewReaderSize(r, exportBuffer), max: max}
}

// next returns the next entry; io.EOF at the end, where an unfinished entry is
// dropped: it comes again behind the cursor of the last one.
func (r *exportReader) next() (*entry, error) {
	r.e.reset()
	r.time = r.time[:0]
	r.some = false
	for {
		line, err := r.in.ReadSlice('\n')
		if err == io.EOF {
			return nil, io.EOF
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, fmt.Errorf("cannot read the journal: %w", err)
		}
		if len(line) == 1 {
			if !r.some {
				continue
			}
			return r.finish()
		}
		r.some = true
		more := err == bufio.ErrBufferFull
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			err = r.text(name, value, more)
		} else if more {
			err = errFormat
		} else {
			err = r.binary(line[:len(line)-1])
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *exportReader) finish() (*entry, error) {
	micros, err := strconv.ParseInt(view(r.time), 10, 64)
	if err != nil || len(r.e.cursor) == 0 {
		return nil, fmt.Errorf("%w: an entry has no cursor or no time", errFormat)
	}
	r.e.micros = micros
	return &r.e, nil
}

// target returns where a value goes and how much of it is kept.
func (r *exportReader) target(name []byte) *[]byte {
	if string(name) == "__REALTIME_TIMESTAMP" {
		return &r.time
	}
	return r.e.field(name)
}

// text takes a value, and what follows it up to the newline if there is more.
func (r *exportReader) text(name, value []byte, more bool) error {
	dst := r.target(name)
	if dst != nil {
		*dst = (*dst)[:0]
	}
	for {
		if !more {
			value = value[:len(value)-1]
		}
		r.keep(dst, value)
		if !more {
			return nil
		}
		var err error
		value, err = r.in.ReadSlice('\n')
		more = err == bufio.ErrBufferFull
		if err != nil && !more {
			return r.cutOff(err)
		}
	}
}

func (r *exportReader) binary(name []byte) error {
	dst := r.target(name)
	if dst != nil {
		*dst = (*dst)[:0]
	}
	var size [8]byte
	if _, err := io.ReadFull(r.in, size[:]); err != nil {
		return r.cutOff(err)
	}
	left := binary.LittleEndian.Uint64(size[:])
	if left > maxField {
		return fmt.Errorf("%w: a field of %d bytes", errFormat, left)
	}
	for left > 0 {
		n := min(left, exportBuffer)
		piece, err := r.in.Peek(int(n))
		if err != nil {
			return r.cutOff(err)
		}
		r.keep(dst, piece)
		_, _ = r.in.Discard(int(n)) // it is in the buffer
		left -= n
	}
	if c, err := r.in.ReadByte(); err != nil {
		return r.cutOff(err)
	} else if c != '\n' {
		return errFormat
	}
	return nil
}

// keep appends a piece of a value, as far as it is wanted.
func (r *exportReader) keep(dst *[]byte, piece []byte) {
	if dst == nil {
		return
	}
	if room := r.max - len(*dst); len(piece) > room {
		r.e.cut = 1
		piece = piece[:room]
	}
	*dst = append(*dst, piece...)
}

// cutOff makes the end within an entry an ordinary end.
func (r *exportReader) cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return fmt.Errorf("cannot read the journal: %w", err)
}

// view returns b as text without copying; it changes with b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
