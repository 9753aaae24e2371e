package bucket

// none is the index of no cell and no chunk.
const none = int32(-1)

// cell is a bucket, or the silence after one. 64 bytes, which lie in one cache
// line: with a million buckets, memory is what a pour waits for.
type cell struct {
	key    uint64  // see Key.of
	first  int64   // time of the first event; of a silence in a replay: the number of its overflow
	last   int64   // time of the last event; of a silence: its end
	tokens float64 // left at the time last
	total  uint32  // events poured
	next   int32   // in the wheel's slot, or in the free list
	prev   int32
	queue  queue
	values int32 // see chunks.remember
	spec   uint16
	marks  uint16 // of its ident, above slotBits; below, the wheel's slot

	nvalues uint16
	fired   uint16 // see Table.Remember
}

// Marks in an ident. Above them is the number that says whose cell it is.
const (
	silence = 1 << iota
	replayed
	idShift = iota
)

// slotBits are those of cell.marks that hold a slot.
const slotBits = 11

// ident tells cells of equal keys apart: a live and a replayed event never
// share a bucket, because their clocks have nothing to do with each other.
func ident(share int, replay, silent bool) uint32 {
	id := uint32(share) << idShift
	if replay {
		id |= replayed
	}
	if silent {
		id |= silence
	}
	return id
}

func (c *cell) silent() bool   { return c.marks>>slotBits&silence != 0 }
func (c *cell) replayed() bool { return c.marks>>slotBits&replayed != 0 }

func (c *cell) slot() uint16     { return c.marks & (1<<slotBits - 1) }
func (c *cell) setSlot(s uint16) { c.marks = c.marks&^(1<<slotBits-1) | s }

// slab holds cells in blocks, so that it grows without copying and a pointer
// to a cell stays good.
type slab struct {
	blocks   []*[blockLen]cell
	freeHead int32
	n        int // cells in use
	made     int32
}

const (
	blockBits = 8
	blockLen  = 1 << blockBits
)

func (s *slab) init() { s.freeHead = none }

func (s *slab) at(i int32) *cell { return &s.blocks[i>>blockBits][i&(blockLen-1)] }

func (s *slab) alloc() int32 {
	s.n++
	if i := s.freeHead; i >= 0 {
		s.freeHead = s.at(i).next
		return i
	}
	i := s.made
	if int(i>>blockBits) == len(s.blocks) {
		s.blocks = append(s.blocks, new([blockLen]cell))
	}
	s.made++
	return i
}

func (s *slab) free(i int32) {
	*s.at(i) = cell{next: s.freeHead, marks: unused}
	s.freeHead = i
	s.n--
}

// unused marks a cell on the free list.
const unused = 1<<16 - 1

func (c *cell) inUse() bool { return c.marks != unused }
