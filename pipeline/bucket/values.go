package bucket

import "encoding/binary"

// The distinct values that a bucket has seen, up to flatValues of them, lie in a
// chain of chunks, which is walked. More are spread over many chains, whose heads
// fill a chunk of their own, so that an attacker who sends ever new values
// doesn't make each of his lines dearer. A bucket has the number of its values and
// the head of the chain, or the chunk of heads; none if there are no values.
const (
	perChunk   = chunkData / 8 // values; the byte behind them tells how many there are
	flatValues = 8 * perChunk
	fanOut     = chunkData / 4
)

// remember looks for a value and adds it if it is new and there is room.
func (k *chunks) remember(values *int32, n *uint16, v uint64) (known, added bool) {
	if *n <= flatValues {
		if k.has(*values, v) {
			return true, false
		}
		if *n < flatValues {
			if !k.add(values, v) {
				return false, false
			}
			*n++
			return false, true
		}
		if k.max-k.used <= 1+fanOut {
			return false, false
		}
		*values = k.spread(*values)
	}
	heads := k.at(*values)
	head := heads.head(v)
	if k.has(head, v) {
		return true, false
	}
	if *n >= maxDistinct || !k.add(&head, v) {
		return false, false
	}
	heads.setHead(v, head)
	*n++
	return false, true
}

// has looks for a value in a chain.
func (k *chunks) has(head int32, v uint64) bool {
	for i := head; i >= 0; {
		c := k.at(i)
		for j := range int(c.data[8*perChunk]) {
			if c.value(j) == v {
				return true
			}
		}
		i = c.next
	}
	return false
}

// add puts a value into a chain and tells whether there was room.
func (k *chunks) add(head *int32, v uint64) bool {
	if *head < 0 || k.at(*head).data[8*perChunk] == perChunk {
		i := k.alloc()
		if i < 0 {
			return false
		}
		c := k.at(i)
		c.next, c.data[8*perChunk] = *head, 0
		*head = i
	}
	c := k.at(*head)
	n := &c.data[8*perChunk]
	binary.NativeEndian.PutUint64(c.data[8**n:], v)
	*n++
	return true
}

// spread moves the values of a chain to many and returns the chunk of their heads.
// There is room for all of them.
func (k *chunks) spread(chain int32) int32 {
	i := k.alloc()
	heads := k.at(i)
	for j := range uint64(fanOut) {
		heads.setHead(j, none)
	}
	for chain >= 0 {
		c := k.at(chain)
		for j := range int(c.data[8*perChunk]) {
			v := c.value(j)
			head := heads.head(v)
			k.add(&head, v)
			heads.setHead(v, head)
		}
		chain = k.free(chain)
	}
	return i
}

// forget releases all values.
func (k *chunks) forget(values int32, n uint16) {
	k.chains(values, n, func(i int32) {
		for i >= 0 {
			i = k.free(i)
		}
	})
	if n > flatValues {
		k.free(values)
	}
}

// chains calls f with the head of each chain.
func (k *chunks) chains(values int32, n uint16, f func(head int32)) {
	if n <= flatValues {
		f(values)
		return
	}
	for j := range uint64(fanOut) {
		f(k.at(values).head(j))
	}
}

func (c *chunk) value(i int) uint64 { return binary.NativeEndian.Uint64(c.data[8*i:]) }

// head and setHead are about the chain for a value.
func (c *chunk) head(v uint64) int32 {
	return int32(binary.NativeEndian.Uint32(c.data[4*(v%fanOut):]))
}

func (c *chunk) setHead(v uint64, head int32) {
	binary.NativeEndian.PutUint32(c.data[4*(v%fanOut):], uint32(head))
}
