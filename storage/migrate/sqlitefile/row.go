package sqlitefile

import (
	"encoding/binary"
	"math"
	"strconv"
)

// Row is one row of a table. A column that the table does not have, or that is
// NULL, is zero or "": a program's older versions had fewer.
type Row struct {
	ID     int64
	table  *table
	values []value
}

// value is one column: a number, or a text or a blob.
type value struct {
	kind kind
	n    int64
	f    float64
	text []byte // part of the page, or of a record put together
}

type kind byte

const (
	null kind = iota
	integer
	float
	text
)

func (r *Row) column(name string) *value {
	for i, c := range r.table.columns {
		if c == name && i < len(r.values) {
			return &r.values[i]
		}
	}
	return &value{}
}

// Int returns a column as a whole number; a text is read as one.
func (r *Row) Int(name string) int64 {
	switch v := r.column(name); v.kind {
	case integer:
		return v.n
	case float:
		return int64(v.f)
	case text:
		n, _ := strconv.ParseInt(string(v.text), 10, 64)
		return n
	}
	return 0
}

// Float returns a column as a number.
func (r *Row) Float(name string) float64 {
	switch v := r.column(name); v.kind {
	case integer:
		return float64(v.n)
	case float:
		return v.f
	case text:
		f, _ := strconv.ParseFloat(string(v.text), 64)
		return f
	}
	return 0
}

// Text returns a column as a text of its own; a number is written out.
func (r *Row) Text(name string) string {
	switch v := r.column(name); v.kind {
	case integer:
		return strconv.FormatInt(v.n, 10)
	case float:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case text:
		return string(v.text)
	}
	return ""
}

// Bool tells whether a column is a number other than 0.
func (r *Row) Bool(name string) bool { return r.Int(name) != 0 }

// decode reads a record: the kinds of all values, then the values.
func (r *Row) decode(id int64, record []byte) error {
	r.ID, r.values = id, r.values[:0]
	size, n := varint(record)
	if n == 0 || size < uint64(n) || size > uint64(len(record)) {
		return corrupt("the head of row %d", id)
	}
	head, body := record[n:size], record[size:]
	for len(head) > 0 {
		serial, n := varint(head)
		if n == 0 {
			return corrupt("the head of row %d", id)
		}
		head = head[n:]
		v, length := value{}, lengthOf(serial)
		if length > uint64(len(body)) {
			return corrupt("row %d ends early", id)
		}
		raw := body[:length]
		body = body[length:]
		switch {
		case serial == 7:
			v = value{kind: float, f: math.Float64frombits(binary.BigEndian.Uint64(raw))}
		case 1 <= serial && serial <= 6:
			v = value{kind: integer, n: signed(raw)}
		case serial == 8, serial == 9:
			v = value{kind: integer, n: int64(serial - 8)}
		case serial >= 12:
			v = value{kind: text, text: raw}
		}
		if len(r.values) == len(r.table.columns) {
			break // more than the table has
		}
		r.values = append(r.values, v)
	}
	if i := r.table.rowID; i >= 0 && i < len(r.values) {
		r.values[i] = value{kind: integer, n: id}
	}
	return nil
}

// lengthOf is how many bytes a value of a kind takes.
func lengthOf(serial uint64) uint64 {
	switch {
	case serial >= 12:
		return (serial - 12) / 2
	case serial <= 4:
		return serial
	case serial == 5:
		return 6
	case serial == 6, serial == 7:
		return 8
	}
	return 0
}

// signed reads a number of up to 8 bytes, in two's complement.
func signed(b []byte) int64 {
	var n int64
	if len(b) > 0 && b[0] >= 0x80 {
		n = -1
	}
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n
}
