package bucket

// none is the index of no cell and no chunk.
const none = int32(-1)

// cell is a bucket, or the silence after one. 80 bytes.
type cell struct {
	key    Key
	first  int64   // time of the first event; of a silence in a replay: the number of its overflow
	last   int64   // time of the last event; of a silence: its end
	tokens float64 // left at the time last
	id     uint32  // see ident
	total  uint32  // events poured
	next   int32   // in the wheel's slot, or in the free list
	prev   int32
	queue  queue
	values int32 // chunks of distinct values
	spec   uint16
	slot   uint16 // of the wheel

	nvalues uint16
	fired   uint16 // see Table.Remember
}

// Marks in cell.id, above which is the number that says whose cell it is.
const (
	silence = 1 << iota
	replayed
	idShift = iota
)

const (
	live = iota
	replay
)

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

func hashOf(k Key, id uint32) uint32 {
	// The key is random enough; the odd factor keeps the cells of one key apart.
	return uint32(k.Lo>>32) ^ uint32(k.Lo) ^ id*0x9E3779B1
}

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
	c := s.at(i)
	*c = cell{next: s.freeHead}
	s.freeHead = i
}
