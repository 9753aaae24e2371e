package sqlitefile

import "encoding/binary"

// Kinds of pages of a table's tree.
const (
	interior = 5
	leaf     = 13
)

// walker goes through the tree of a table.
type walker struct {
	f     *File
	left  uint32 // pages that may still be read, so that a loop has an end
	row   Row
	visit func(*Row) error
	spill []byte // a record that lies on more than one page
	extra []byte // one of those pages
	free  [][]byte
}

func (w *walker) read(n uint32, buf []byte) error {
	if w.left == 0 {
		return corrupt("the pages form a loop")
	}
	w.left--
	return w.f.page(n, buf)
}

// buffer returns room for a page. There is one for each level of the tree.
func (w *walker) buffer() []byte {
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		return b
	}
	return make([]byte, w.f.pageSize)
}

func (w *walker) tree(n uint32, depth int) error {
	if depth > maxDepth {
		return corrupt("a tree of more than %d levels", maxDepth)
	}
	page := w.buffer()
	defer func() { w.free = append(w.free, page) }()
	if err := w.read(n, page); err != nil {
		return err
	}
	head := 0
	if n == 1 {
		head = headerSize
	}
	kind, cells := page[head], int(binary.BigEndian.Uint16(page[head+3:]))
	pointers := head + 8
	if kind == interior {
		pointers = head + 12
	}
	if kind != interior && kind != leaf || pointers+2*cells > w.f.usable {
		return corrupt("page %d is none of a table", n)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(page[pointers+2*i:]))
		if at < pointers || at+4 > w.f.usable {
			return corrupt("cell %d of page %d", i, n)
		}
		if kind == interior {
			if err := w.tree(binary.BigEndian.Uint32(page[at:]), depth+1); err != nil {
				return err
			}
			continue
		}
		if err := w.cell(page[:w.f.usable], at); err != nil {
			return err
		}
	}
	if kind == interior {
		return w.tree(binary.BigEndian.Uint32(page[head+8:]), depth+1)
	}
	return nil
}

// cell reads a row. at is within the page.
func (w *walker) cell(page []byte, at int) error {
	size, n := varint(page[at:])
	id, m := varint(page[at+n:])
	if n == 0 || m == 0 || size > maxRecord {
		return corrupt("the length of a row")
	}
	at += n + m
	total := int(size)
	local := w.local(total)
	if at+local > len(page) {
		return corrupt("a row that is longer than its page")
	}
	record := page[at : at+local]
	if local < total {
		if at+local+4 > len(page) {
			return corrupt("a row that is longer than its page")
		}
		var err error
		if record, err = w.overflow(record, total, binary.BigEndian.Uint32(page[at+local:])); err != nil {
			return err
		}
	}
	if err := w.row.decode(int64(id), record); err != nil {
		return err
	}
	return w.visit(&w.row)
}

// local is how many bytes of a record are on the page of its cell.
func (w *walker) local(total int) int {
	usable := w.f.usable
	most := usable - 35
	if total <= most {
		return total
	}
	least := (usable-12)*32/255 - 23
	if n := least + (total-least)%(usable-4); n <= most {
		return n
	}
	return least
}

// overflow puts a record together.
func (w *walker) overflow(start []byte, total int, next uint32) ([]byte, error) {
	if w.extra == nil {
		w.extra = make([]byte, w.f.pageSize)
	}
	w.spill = append(w.spill[:0], start...)
	for len(w.spill) < total {
		if err := w.read(next, w.extra); err != nil {
			return nil, err
		}
		next = binary.BigEndian.Uint32(w.extra)
		w.spill = append(w.spill, w.extra[4:4+min(total-len(w.spill), w.f.usable-4)]...)
	}
	return w.spill, nil
}

// varint reads a number of 1 to 9 bytes, the high ones first; n is 0 if it ends
// early.
func varint(b []byte) (v uint64, n int) {
	for i := range min(len(b), 9) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
