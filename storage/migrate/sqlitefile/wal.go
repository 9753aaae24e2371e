package sqlitefile

import (
	"bufio"
	"encoding/binary"
	"io"
)

// readLog finds what the log holds that is newer than the file: the pages of
// the transactions that were finished. What follows the first frame that isn't
// right is of an older round, or was not finished.
func (f *File) readLog() error {
	in := bufio.NewReaderSize(f.wal, 64<<10)
	var h [32]byte
	if _, err := io.ReadFull(in, h[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	} else if err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.BigEndian.Uint32(h[:]) {
	case 0x377f0682:
	case 0x377f0683:
		order = binary.BigEndian
	default:
		return nil
	}
	if size := binary.BigEndian.Uint32(h[8:]); int(size) != f.pageSize {
		return nil
	}
	sum := checksum{order: order}
	if sum.add(h[:24]); !sum.is(h[24:]) {
		return nil
	}
	frame := make([]byte, 24+f.pageSize)
	pending := make(map[uint32]int64)
	for at := int64(len(h)); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		} else if err != nil {
			return err
		}
		sum.add(frame[:8])
		sum.add(frame[24:])
		if string(frame[8:16]) != string(h[16:24]) || !sum.is(frame[16:24]) {
			return nil
		}
		pending[binary.BigEndian.Uint32(frame)] = at + 24
		pages := binary.BigEndian.Uint32(frame[4:])
		if pages == 0 {
			continue
		}
		if f.logged == nil {
			f.logged = make(map[uint32]int64)
		}
		for n, where := range pending {
			f.logged[n] = where
		}
		clear(pending)
	}
}

// checksum is that of the log: two sums that run over all of it.
type checksum struct {
	order binary.ByteOrder
	a, b  uint32
}

// add takes in bytes, whose number is a multiple of 8.
func (c *checksum) add(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		c.a += c.order.Uint32(p) + c.b
		c.b += c.order.Uint32(p[4:]) + c.a
	}
}

func (c *checksum) is(p []byte) bool {
	return binary.BigEndian.Uint32(p) == c.a && binary.BigEndian.Uint32(p[4:]) == c.b
}
