package bucket

import (
	"encoding/binary"
)

// chunks is the bounded store of what buckets keep: their events, as a stream
// of bytes in a chain of chunks, and the distinct values they have seen.
type chunks struct {
	blocks   []*[chunkBlock]chunk
	freeHead int32
	used     int
	made     int32
	max      int
}

type chunk struct {
	next int32
	data [chunkData]byte
}

const (
	chunkSize  = 128
	chunkData  = chunkSize - 4
	chunkBlock = 256
	perChunk   = chunkData / 8 // distinct values
)

// queue is a bucket's kept events: records, each behind its length, read from
// one end and written at the other.
type queue struct {
	head, tail int32 // chunks
	n          uint16
	from, to   uint8 // offsets in head and tail
}

func (k *chunks) init(max int) {
	k.freeHead = none
	k.max = max
}

func (k *chunks) at(i int32) *chunk { return &k.blocks[i/chunkBlock][i%chunkBlock] }

// alloc returns an unlinked chunk, none at the bound.
func (k *chunks) alloc() int32 {
	if k.used >= k.max {
		return none
	}
	k.used++
	i := k.freeHead
	if i >= 0 {
		k.freeHead = k.at(i).next
	} else {
		i = k.made
		if int(i/chunkBlock) == len(k.blocks) {
			k.blocks = append(k.blocks, new([chunkBlock]chunk))
		}
		k.made++
	}
	k.at(i).next = none
	return i
}

func (k *chunks) release(i int32) {
	for i >= 0 {
		c := k.at(i)
		next := c.next
		c.next = k.freeHead
		k.freeHead = i
		k.used--
		i = next
	}
}

// push appends a record and tells whether there was room.
func (k *chunks) push(q *queue, rec []byte) bool {
	var size [binary.MaxVarintLen64]byte
	head := binary.PutUvarint(size[:], uint64(len(rec)))
	room := 0
	if q.tail >= 0 {
		room = chunkData - int(q.to)
	}
	need := (head + len(rec) - room + chunkData - 1) / chunkData
	if need > k.max-k.used || q.n == 1<<16-1 {
		return false
	}
	k.write(q, size[:head])
	k.write(q, rec)
	q.n++
	return true
}

func (k *chunks) write(q *queue, b []byte) {
	for len(b) > 0 {
		if q.tail < 0 || q.to == chunkData {
			i := k.alloc()
			if q.tail < 0 {
				q.head, q.from = i, 0
			} else {
				k.at(q.tail).next = i
			}
			q.tail, q.to = i, 0
		}
		n := copy(k.at(q.tail).data[q.to:], b)
		q.to += uint8(n)
		b = b[n:]
	}
}

// take appends the oldest record to buf and removes it.
func (k *chunks) take(q *queue, buf []byte) []byte {
	head := q.head
	buf = k.copyFront(q, buf)
	k.popped(q, head)
	return buf
}

// pop removes the oldest record.
func (k *chunks) pop(q *queue) {
	head := q.head
	for n := k.length(q); n > 0; {
		n -= len(k.front(q, n))
	}
	k.popped(q, head)
}

// copyFront appends the oldest record to buf and moves q, which may be a copy
// of a bucket's, behind it. No chunk is released.
func (k *chunks) copyFront(q *queue, buf []byte) []byte {
	for n := k.length(q); n > 0; {
		part := k.front(q, n)
		buf = append(buf, part...)
		n -= len(part)
	}
	return buf
}

// length reads the length of the oldest record.
func (k *chunks) length(q *queue) int {
	n, shift := 0, 0
	for {
		b := k.front(q, 1)[0]
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
		shift += 7
	}
}

// front moves q over up to n bytes, those that lie in one chunk, and returns
// them; they are valid until the next write.
func (k *chunks) front(q *queue, n int) []byte {
	if q.from == chunkData {
		q.head, q.from = k.at(q.head).next, 0
	}
	part := k.at(q.head).data[q.from:]
	part = part[:min(n, len(part))]
	q.from += uint8(len(part))
	return part
}

// popped releases the chunks from head on that q has moved out of.
func (k *chunks) popped(q *queue, head int32) {
	q.n--
	if q.n == 0 {
		k.release(head)
		q.head, q.tail, q.from, q.to = none, none, 0, 0
		return
	}
	for head != q.head {
		c := k.at(head)
		next := c.next
		c.next = none
		k.release(head)
		head = next
	}
}

// remember looks for a value in a chain of chunks whose newest is *head and
// which holds *n values. A new one is added, if there is room.
func (k *chunks) remember(head *int32, n *uint16, v uint64) (known, added bool) {
	last := int(*n) % perChunk // values in the newest chunk, 0 when it is full
	fill := last
	if fill == 0 {
		fill = perChunk
	}
	for i := *head; i >= 0; i = k.at(i).next {
		c := k.at(i)
		for j := range fill {
			if binary.NativeEndian.Uint64(c.data[8*j:]) == v {
				return true, false
			}
		}
		fill = perChunk
	}
	if *n >= maxDistinct {
		return false, false
	}
	if last == 0 {
		i := k.alloc()
		if i < 0 {
			return false, false
		}
		k.at(i).next = *head
		*head = i
	}
	binary.NativeEndian.PutUint64(k.at(*head).data[8*last:], v)
	*n++
	return false, true
}
