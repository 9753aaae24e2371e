package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"slices"

	"cs/platform/order"
)

// A salvage reads a damaged file without bbolt, which stops at the first page
// that can't be. The layout is bbolt's, in the byte order of the machine:
//
//	page    id u64, flags u16, count u16, overflow u32, then count elements
//	branch  pos u32, length of key u32, page u64
//	leaf    flags u32, pos u32, length of key u32, length of value u32
//	bucket  root page u64, sequence u64, then its only page if root is 0
//	meta    magic u32, version u32, page size u32, flags u32, bucket, freelist
//	        u64, pages u64, transaction u64, FNV-1a of all that u64
//
// where pos is the distance from an element to its key, after which its value
// stands, and the first two pages of a file are metas.
type salvage struct {
	file     io.ReaderAt
	size     int64
	pageSize int64
	bad      int             // pages that could not be read
	seen     map[uint64]bool // pages of the tree being walked: a damaged one may lead back
}

const (
	pageHeader  = 16
	elementSize = 16
	metaSize    = 64

	branchPage = 0x01
	leafPage   = 0x02
	bucketLeaf = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	largestPage  = 64 << 10 // of the systems bbolt runs on
	longestValue = 1 << 30
)

var errPage = errors.New("a page is damaged")

// root is where the buckets of one state of the file are.
type root struct {
	page uint64
	age  uint64 // greater is newer
}

// roots returns the states that can be found, the newest first: the two of the
// meta pages, or what looks like one if no meta page can be read.
func (s *salvage) roots() []root {
	var found []root
	for size := int64(512); size <= largestPage; size *= 2 {
		// Where the second meta lies tells the size of the pages, as the first does.
		for _, at := range []int64{0, size} {
			if r, pageSize, ok := s.meta(at); ok && pageSize == size {
				s.pageSize = size
				found = append(found, r)
			}
		}
	}
	s.bad += 2 - len(found) // of a file that was ever closed both can be read
	if len(found) == 0 {
		return s.guessRoots()
	}
	newestFirst(found)
	return found
}

func newestFirst(list []root) {
	order.Stable(list, func(a, b root) int { return cmp.Compare(b.age, a.age) })
}

func (s *salvage) meta(at int64) (r root, pageSize int64, ok bool) {
	b := make([]byte, pageHeader+metaSize)
	if _, err := s.file.ReadAt(b, at); err != nil {
		return r, 0, false
	}
	m, order := b[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	if order.Uint32(m) != boltMagic || order.Uint32(m[4:]) != boltVersion || order.Uint64(m[56:]) != sum.Sum64() {
		return r, 0, false
	}
	return root{page: order.Uint64(m[16:]), age: order.Uint64(m[48:])}, int64(order.Uint32(m[8:])), true
}

// guessRoots looks through all pages for one that holds our buckets. What it
// finds may be of any age; more alerts ever given mean a newer one.
func (s *salvage) guessRoots() []root {
	s.pageSize = int64(os.Getpagesize())
	var found []root
	for id := uint64(2); int64(id)*s.pageSize < s.size; id++ {
		page, err := s.page(id)
		if err != nil || binary.NativeEndian.Uint16(page[8:]) != leafPage {
			continue
		}
		known, sequence := 0, uint64(0)
		s.leaf(page, func(key, value []byte, isBucket bool) {
			if isBucket && slices.ContainsFunc(buckets, func(b bucket) bool { return bytes.Equal(b.name, key) }) {
				known++
				if bytes.Equal(key, alertsBucket) && len(value) >= 16 {
					sequence = binary.NativeEndian.Uint64(value[8:])
				}
			}
		})
		if known >= 3 {
			found = append(found, root{page: id, age: sequence})
		}
	}
	newestFirst(found)
	return found
}

// buckets calls f for each bucket of a state that can be found.
func (s *salvage) buckets(r root, f func(name, value []byte)) {
	s.tree(r.page, func(key, value []byte, isBucket bool) {
		if isBucket && len(value) >= 16 {
			f(key, value)
		}
	})
}

// records calls f for each key of a bucket that can be found, and tells whether
// some can't be.
func (s *salvage) records(bucket []byte, f func(key, value []byte)) (whole bool) {
	before := s.bad
	each := func(key, value []byte, isBucket bool) {
		if !isBucket {
			f(key, value)
		}
	}
	if page := binary.NativeEndian.Uint64(bucket); page != 0 {
		s.tree(page, each)
	} else if inline := bucket[16:]; len(inline) >= pageHeader {
		if s.leaf(inline, each) != nil {
			s.bad++
		}
	}
	return s.bad == before
}

// tree goes through the tree below a page and passes over what is damaged.
func (s *salvage) tree(id uint64, f func(key, value []byte, isBucket bool)) {
	s.seen = make(map[uint64]bool)
	s.walk(id, f)
}

func (s *salvage) walk(id uint64, f func(key, value []byte, isBucket bool)) {
	page, err := s.page(id)
	if err != nil || s.seen[id] {
		s.bad++
		return
	}
	s.seen[id] = true
	switch {
	case binary.NativeEndian.Uint16(page[8:]) == leafPage:
		err = s.leaf(page, f)
	case binary.NativeEndian.Uint16(page[8:]) == branchPage:
		count := int(binary.NativeEndian.Uint16(page[10:]))
		if pageHeader+count*elementSize > len(page) {
			err = errPage
			break
		}
		for i := range count {
			s.walk(binary.NativeEndian.Uint64(page[pageHeader+i*elementSize+8:]), f)
		}
	default:
		err = errPage
	}
	if err != nil {
		s.bad++
	}
}

// page reads a page with those it runs over to.
func (s *salvage) page(id uint64) ([]byte, error) {
	at := int64(id) * s.pageSize
	if id > uint64(s.size/s.pageSize) || at+s.pageSize > s.size {
		return nil, errPage
	}
	page := make([]byte, s.pageSize)
	if _, err := s.file.ReadAt(page, at); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint64(page) != id {
		return nil, errPage
	}
	more := int64(binary.NativeEndian.Uint32(page[12:]))
	if more == 0 {
		return page, nil
	}
	length := (1 + more) * s.pageSize
	if length > longestValue || at+length > s.size {
		return nil, errPage
	}
	page = make([]byte, length)
	_, err := s.file.ReadAt(page, at)
	return page, err
}

// leaf calls f for the elements of a leaf, up to the first that can't be. Keys
// must rise, as everywhere in a tree.
func (s *salvage) leaf(page []byte, f func(key, value []byte, isBucket bool)) error {
	order := binary.NativeEndian
	var last []byte
	for i := range int(order.Uint16(page[10:])) {
		at := pageHeader + i*elementSize
		if at+elementSize > len(page) {
			return errPage
		}
		e := page[at:]
		flags, pos, k, v := order.Uint32(e), uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		if flags > bucketLeaf || k == 0 || pos+k+v > uint64(len(e)) {
			return errPage
		}
		key := e[pos : pos+k]
		if last != nil && bytes.Compare(key, last) <= 0 {
			return errPage
		}
		last = key
		f(key, e[pos+k:pos+k+v], flags == bucketLeaf)
	}
	return nil
}
