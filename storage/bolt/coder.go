package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// coder walks over a record field by field and either writes or reads it, so
// that the layout of each record is said once (records.go) and its two
// directions can't disagree. Numbers are varints; texts and lists have their
// length in front. After an error the rest of the walk does nothing.
type coder struct {
	buf     []byte // writing: the record so far; reading: what is left of it
	reading bool
	version byte  // of the record that is read; writing: the newest
	names   names // reading, optional
	err     error
}

var (
	errShort    = errors.New("the record ends early")
	errTrailing = errors.New("there is something after the end of the record")
	errNumber   = errors.New("a number is out of range")
)

// unknownVersion is the version byte of a record that a newer program wrote.
type unknownVersion byte

func (v unknownVersion) Error() string {
	return fmt.Sprintf("a newer version of the program wrote it (format %d)", byte(v))
}

// names keeps texts that occur in many records, such as scenarios, so that
// each is held in memory once. It takes no more than maxNames.
type names map[string]string

const maxNames = 4096

func (n names) get(b []byte) string {
	if s, ok := n[string(b)]; ok {
		return s
	}
	s := string(b)
	if n != nil && len(n) < maxNames {
		n[s] = s
	}
	return s
}

// encode returns the record of v with its version byte in front.
func encode[T any](version byte, v *T, walk func(*coder, *T)) []byte {
	c := coder{buf: make([]byte, 1, 128), version: version}
	c.buf[0] = version
	walk(&c, v)
	return c.buf
}

// decode reads a record into v. The record may lie in the mapped file: nothing
// of v points into it.
func decode[T any](version byte, record []byte, n names, v *T, walk func(*coder, *T)) error {
	c, err := reader(version, record, n)
	if err != nil {
		return err
	}
	walk(&c, v)
	if c.err == nil && len(c.buf) > 0 {
		c.err = errTrailing
	}
	return c.err
}

// reader checks the version byte and returns a coder that stands after it.
func reader(version byte, record []byte, n names) (coder, error) {
	switch {
	case len(record) == 0:
		return coder{}, errShort
	case record[0] > version:
		return coder{}, unknownVersion(record[0])
	case record[0] == 0:
		return coder{}, errNumber
	}
	return coder{buf: record[1:], reading: true, version: record[0], names: n}, nil
}

func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.buf = nil
}

func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.buf = binary.AppendUvarint(c.buf, *v)
		return
	}
	u, n := binary.Uvarint(c.buf)
	switch {
	case n > 0:
		*v, c.buf = u, c.buf[n:]
	case n == 0:
		c.fail(errShort)
	default:
		c.fail(errNumber)
	}
}

func (c *coder) int64(v *int64) {
	u := uint64(*v)<<1 ^ uint64(*v>>63) // zigzag: small negative numbers stay short
	c.uint(&u)
	if c.reading {
		*v = int64(u>>1) ^ -int64(u&1)
	}
}

func (c *coder) int32(v *int32) {
	wide := int64(*v)
	c.int64(&wide)
	if wide != int64(int32(wide)) {
		c.fail(errNumber)
		return
	}
	*v = int32(wide)
}

func (c *coder) bool(v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	c.uint(&u)
	if u > 1 {
		c.fail(errNumber)
		return
	}
	*v = u == 1
}

func (c *coder) float32(v *float32) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint32(c.buf, math.Float32bits(*v))
		return
	}
	if b := c.take(4); b != nil {
		*v = math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
}

// time keeps an instant to the nanosecond, any year, and no zone.
func (c *coder) time(v *time.Time) {
	sec, nsec := v.Unix(), uint64(v.Nanosecond())
	c.int64(&sec)
	c.uint(&nsec)
	if !c.reading || c.err != nil {
		return
	}
	if nsec >= uint64(time.Second) {
		c.fail(errNumber)
		return
	}
	*v = time.Unix(sec, int64(nsec)).UTC()
}

// offset is that of a time from UTC, in seconds. The time itself comes before.
func (c *coder) offset(v *time.Time) {
	const most = 25 * 60 * 60
	_, seconds := v.Zone()
	n := int32(seconds)
	c.int32(&n)
	if n < -most || n > most {
		c.fail(errNumber)
		return
	}
	if c.reading && c.err == nil && n != 0 {
		*v = v.In(time.FixedZone("", int(n)))
	}
}

func (c *coder) text(v *string) {
	if !c.reading {
		c.buf = append(binary.AppendUvarint(c.buf, uint64(len(*v))), *v...)
		return
	}
	*v = string(c.take(c.len()))
}

// name is a text that is likely to occur in other records too.
func (c *coder) name(v *string) {
	if !c.reading {
		c.text(v)
		return
	}
	*v = c.names.get(c.take(c.len()))
}

// len reads a length that can't be more than what is left of the record, so
// that a damaged one can't ask for more memory than a record has bytes.
func (c *coder) len() int {
	var u uint64
	c.uint(&u)
	if u > uint64(len(c.buf)) {
		c.fail(errShort)
		return 0
	}
	return int(u)
}

// take cuts n bytes off what is left.
func (c *coder) take(n int) []byte {
	if n > len(c.buf) {
		c.fail(errShort)
		return nil
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

// list walks over the elements of a slice; an empty one is read as nil. Each
// element must take at least one byte.
func list[T any](c *coder, v *[]T, element func(*coder, *T)) {
	if c.reading {
		*v = nil
		if n := c.len(); n > 0 {
			*v = make([]T, n)
		}
	} else {
		c.buf = binary.AppendUvarint(c.buf, uint64(len(*v)))
	}
	for i := range *v {
		if c.err != nil {
			*v = nil
			return
		}
		element(c, &(*v)[i])
	}
}
