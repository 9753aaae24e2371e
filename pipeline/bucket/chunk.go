package bucket

import "encoding/binary"

// chunks is the bounded store of what buckets keep: their events, as a stream
// of bytes in a ring of chunks, and the distinct values they have seen (values.go).
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
)

// queue is a bucket's kept events: records, each behind its length, read from
// one end and written at the other. The chunk behind the tail is the head.
type queue struct {
	tail     int32
	n        uint16
	from, to uint8 // offsets in head and tail
}

// reader walks over a queue's records and changes nothing.
type reader struct {
	at   int32 // chunk
	from uint8
}

func (k *chunks) init(max int) {
	k.freeHead = none
	k.max = max
}

func (k *chunks) at(i int32) *chunk { return &k.blocks[i/chunkBlock][i%chunkBlock] }

// alloc returns a chunk that is linked nowhere, none at the bound.
func (k *chunks) alloc() int32 {
	if k.used >= k.max {
		return none
	}
	k.used++
	i := k.freeHead
	if i >= 0 {
		k.freeHead = k.at(i).next
		return i
	}
	i = k.made
	if int(i/chunkBlock) == len(k.blocks) {
		k.blocks = append(k.blocks, new([chunkBlock]chunk))
	}
	k.made++
	return i
}

// free releases one chunk and returns the one behind it.
func (k *chunks) free(i int32) (next int32) {
	c := k.at(i)
	next = c.next
	c.next = k.freeHead
	k.freeHead = i
	k.used--
	return next
}

// clear releases all chunks of a queue.
func (k *chunks) clear(q *queue) {
	if q.tail >= 0 {
		for i := k.free(q.tail); i != q.tail; {
			i = k.free(i)
		}
	}
	*q = queue{tail: none}
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

// A linked record can be reached from the end of its queue, too: behind it, and in
// one chunk, stand how many bytes of padding that took, and where the record begins.
const link = 1 + 4 + 1

// pushLinked is push for a linked record. Those of a queue are linked or not, all
// of them.
func (k *chunks) pushLinked(q *queue, rec []byte) bool {
	begin := reader{q.tail, q.to}
	at := int(q.to)
	if q.tail < 0 {
		at = 0
	}
	head := 1 // bytes of the length
	for n := len(rec) + 2*link; n >= 0x80; n >>= 7 {
		head++
	}
	pad := 0
	if end := (at + head + len(rec)) % chunkData; end+link > chunkData {
		pad = chunkData - end
	}
	size := len(rec) + pad + link
	room := 0
	if q.tail >= 0 {
		room = chunkData - at
	}
	if need := (head + size - room + chunkData - 1) / chunkData; need > k.max-k.used || q.n == 1<<16-1 {
		return false
	}
	var b [binary.MaxVarintLen64]byte
	for i, n := 0, size; i < head; i, n = i+1, n>>7 {
		b[i] = byte(n) | 0x80
	}
	b[head-1] &= 0x7f
	k.write(q, b[:head])
	if begin.at < 0 {
		begin = reader{q.tail, 0}
	}
	k.write(q, rec)
	var tail [2 * link]byte
	l := tail[pad : pad+link]
	l[0] = byte(pad)
	binary.LittleEndian.PutUint32(l[1:], uint32(begin.at))
	l[5] = begin.from
	k.write(q, tail[:pad+link])
	q.n++
	return true
}

// last begins with the n-th linked record from the end.
func (k *chunks) last(q *queue, n int) reader {
	r := reader{q.tail, q.to}
	for range n {
		l := k.at(r.at).data[r.from-link : r.from]
		r = reader{int32(binary.LittleEndian.Uint32(l[1:])), l[5]}
	}
	return r
}

// nextLinked is next for a linked record.
func (k *chunks) nextLinked(r *reader, buf []byte) []byte {
	buf = k.next(r, buf)
	n := len(buf) - link
	return buf[:n-int(buf[n])]
}

func (k *chunks) write(q *queue, b []byte) {
	for len(b) > 0 {
		if q.tail < 0 {
			i := k.alloc()
			k.at(i).next = i
			q.tail, q.from, q.to = i, 0, 0
		} else if q.to == chunkData {
			i := k.alloc()
			tail := k.at(q.tail)
			k.at(i).next = tail.next
			tail.next = i
			q.tail, q.to = i, 0
		}
		n := copy(k.at(q.tail).data[q.to:], b)
		q.to += uint8(n)
		b = b[n:]
	}
}

// reader begins with the oldest record. There must be one.
func (k *chunks) reader(q *queue) reader { return reader{k.at(q.tail).next, q.from} }

// next appends the record at r to buf and moves on.
func (k *chunks) next(r *reader, buf []byte) []byte {
	for n := k.length(r); n > 0; {
		part := k.front(r, n)
		buf = append(buf, part...)
		n -= len(part)
	}
	return buf
}

// length reads the length of the record at r.
func (k *chunks) length(r *reader) int {
	n, shift := 0, 0
	for {
		b := k.front(r, 1)[0]
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
		shift += 7
	}
}

// front moves r over up to n bytes, those that lie in one chunk, and returns
// them; they are valid until the next write.
func (k *chunks) front(r *reader, n int) []byte {
	if r.from == chunkData {
		r.at, r.from = k.at(r.at).next, 0
	}
	part := k.at(r.at).data[r.from:]
	part = part[:min(n, len(part))]
	r.from += uint8(len(part))
	return part
}

// pop removes the oldest record.
func (k *chunks) pop(q *queue) {
	if q.n == 1 {
		k.clear(q)
		return
	}
	r := k.reader(q)
	head := r.at
	for n := k.length(&r); n > 0; {
		n -= len(k.front(&r, n))
	}
	for head != r.at {
		head = k.free(head)
	}
	k.at(q.tail).next, q.from = r.at, r.from
	q.n--
}
