package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// The saved state is a stream of frames (see frame.go) with, in this order,
//
//	"cs buckets 1\n"
//	text     the preface, which is the caller's
//	16 bytes the secret of the keys
//	number   of names of specs, and so many texts
//	1 byte   1: a bucket, 2: a silence; 0: this is the end
//	         of either: number of the spec, 8 bytes each Key and last;
//	         of a bucket: 8 bytes each first and the bits of tokens,
//	         numbers total and fired, number of events and so many texts,
//	         number of distinct values and 8 bytes each
//
// A number is a varint, a text has its length before it, and 8 bytes are little-endian.
const (
	stateMagic = "cs buckets 1\n"

	isEnd     = 0
	isBucket  = 1
	isSilence = 2

	maxPreface = 16 << 20
	maxName    = 4 << 10
)

// Save writes the live buckets and what else lives as long as they do, for
// Load. names[i] tells Config.Specs[i] from others and from what it was before
// it was changed. preface is for the caller's own use. Others may use the table
// meanwhile; what they change may be in it or not. Replayed buckets are left out: a
// replay begins anew.
func (t *Table) Save(w io.Writer, preface []byte, names []string) error {
	f := frameWriter{to: w}
	b := []byte(stateMagic)
	b = appendText(b, preface)
	b = binary.LittleEndian.AppendUint64(b, t.secret.k0)
	b = binary.LittleEndian.AppendUint64(b, t.secret.k1)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendText(b, name)
	}
	var out Overflow
	for i, more := int32(0), true; more; {
		t.mu.Lock()
		for end := i + blockLen; i < end && more; i++ {
			if more = i < t.made; more {
				b = t.appendCell(b, t.at(i), &out)
			}
			if len(b) >= frameData { // buckets differ in size a lot
				i++
				break
			}
		}
		t.mu.Unlock()
		if b = f.flush(b); f.err != nil {
			return fmt.Errorf("cannot save buckets: %w", f.err)
		}
	}
	f.end(append(b, isEnd))
	if f.err != nil {
		return fmt.Errorf("cannot save buckets: %w", f.err)
	}
	return nil
}

func (t *Table) appendCell(b []byte, c *cell, out *Overflow) []byte {
	if !c.inUse() || c.replayed() {
		return b
	}
	share, kind := t.specs[c.spec].Share, byte(isBucket)
	if c.silent() {
		share, kind = int(c.spec), isSilence
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(c.spec))
	b = binary.LittleEndian.AppendUint64(b, Key(c.key).of(ident(share, false, c.silent())))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.last))
	if kind == isSilence {
		return b
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(c.first))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(c.tokens))
	b = binary.AppendUvarint(b, uint64(c.total))
	b = binary.AppendUvarint(b, uint64(c.fired))
	t.read(c, out)
	b = binary.AppendUvarint(b, uint64(out.Len()))
	for i := range out.Len() {
		b = appendText(b, out.Record(i))
	}
	b = binary.AppendUvarint(b, uint64(c.nvalues))
	t.chunks.chains(c.values, c.nvalues, func(i int32) {
		for ; i >= 0; i = t.chunks.at(i).next {
			ch := t.chunks.at(i)
			for j := range int(ch.data[8*perChunk]) {
				b = binary.LittleEndian.AppendUint64(b, ch.value(j))
			}
		}
	})
	return b
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// ErrState says that a saved state is damaged or none.
var ErrState = errors.New("the saved state is damaged")

// Load puts what Save wrote into an empty table whose keys nobody uses yet.
// begin is given the preface and returns what makes a record of the saved state one
// of today's; the result is used before the next call, and nil drops the record.
// Buckets that were over before now are left out, counters excepted, and so are
// those of specs with a name that names does not have.
//
// On an error, what was read before stays: each part of the state is checked
// before it is used.
func (t *Table) Load(r io.Reader, names []string, now time.Time, begin func(preface []byte) (func(rec []byte) []byte, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n > 0 {
		return errors.New("cannot load buckets: there are some already")
	}
	s := stateReader{frames: frameReader{from: r}}
	if string(s.bytes(len(stateMagic))) != stateMagic {
		s.fail()
		return s.error()
	}
	translate, err := begin(s.text(maxPreface))
	if s.err == nil && err != nil {
		s.err = err
	}
	secret := secret{s.word(), s.word()}
	specs := make([]int, 0, 64) // the saved specs' numbers today, -1 for those that are gone
	byName := map[string][]int{}
	for i, name := range names {
		byName[name] = append(byName[name], i)
	}
	for range s.number(math.MaxUint16) {
		name := string(s.text(maxName))
		spec := -1
		if same := byName[name]; len(same) > 0 { // documents may be equal: by their order
			spec, byName[name] = same[0], same[1:]
		}
		if s.err != nil {
			break
		}
		specs = append(specs, spec)
	}
	if s.err != nil {
		return s.error()
	}
	t.secret = secret
	t.wheel.cur = tickOf(now.UnixNano()) - 1
	for {
		kind := s.byte()
		if s.err != nil || kind == isEnd {
			return s.error()
		}
		t.loadCell(&s, kind, specs, now.UnixNano(), translate)
		if s.err != nil {
			return s.error()
		}
	}
}

// loadCell reads a cell as far as it can be, and adds it if it is wanted.
func (t *Table) loadCell(s *stateReader, kind byte, specs []int, now int64, translate func([]byte) []byte) {
	if kind != isBucket && kind != isSilence {
		s.fail()
	}
	saved := s.number(math.MaxUint16)
	key, last := Key(s.word()), int64(s.word())
	spec := -1
	if saved < uint64(len(specs)) {
		spec = specs[saved]
	} else {
		s.fail()
	}
	if kind == isSilence {
		if spec >= 0 && last > now && s.err == nil {
			t.restore(key.of(ident(spec, false, true)), spec, cell{last: min(last, now+int64(t.specs[spec].Blackhole))}, true)
		}
		return
	}
	c := cell{last: last, first: int64(s.word()), tokens: math.Float64frombits(s.word())}
	c.total, c.fired = uint32(s.number(math.MaxUint32)), uint16(s.number(math.MaxUint16))
	if c.last < 0 || c.first < 0 || math.IsNaN(c.tokens) {
		s.fail()
	}
	i := none
	if s.err == nil && spec >= 0 && t.specs[spec].Kind != Trigger {
		c.last, c.first = min(c.last, now), min(c.first, now) // the clock may have been set back
		c.tokens = max(-1, min(c.tokens, float64(t.specs[spec].Capacity)))
		i = t.restore(key.of(ident(t.specs[spec].Share, false, false)), spec, c, false)
		if i >= 0 && t.endOf(t.at(i)) < now && !t.ticks(t.at(i)) {
			t.remove(i)
			i = none
		}
	}
	for range s.number(math.MaxUint16) {
		rec := s.text(t.chunks.max * chunkSize)
		if s.err != nil {
			return
		}
		if i >= 0 {
			if rec = translate(rec); rec != nil {
				t.keep(t.at(i), t.specs[spec].queue, rec)
			}
		}
	}
	for range s.number(math.MaxUint16) {
		v := s.word()
		if s.err != nil {
			return
		}
		if i >= 0 {
			t.seen(t.at(i), v)
		}
	}
}

// restore adds a cell with the content of c, if there is room and none like it.
func (t *Table) restore(key uint64, spec int, c cell, silent bool) int32 {
	if t.n >= t.max || t.find(key) >= 0 {
		return none
	}
	i := t.add(key, spec, false, silent)
	to := t.at(i)
	to.first, to.last, to.tokens, to.total, to.fired = c.first, c.last, c.tokens, c.total, c.fired
	t.link(i)
	return i
}

// stateReader reads the parts of a state. After the first error it gives zeros.
type stateReader struct {
	frames frameReader
	buf    []byte
	err    error
}

func (s *stateReader) fail() {
	if s.err == nil {
		s.err = ErrState
	}
}

func (s *stateReader) error() error {
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("cannot load buckets: %w", s.err)
}

// bytes returns n bytes, valid until the next call. It takes no more memory than
// there are bytes, whatever n claims.
func (s *stateReader) bytes(n int) []byte {
	s.buf = s.buf[:0]
	for len(s.buf) < n && s.err == nil {
		part, err := s.frames.next(n - len(s.buf))
		s.buf = append(s.buf, part...)
		s.err = err
	}
	if s.err != nil {
		return nil
	}
	return s.buf
}

func (s *stateReader) byte() byte {
	if b := s.bytes(1); b != nil {
		return b[0]
	}
	return isEnd
}

func (s *stateReader) word() uint64 {
	if b := s.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// number returns a number up to max.
func (s *stateReader) number(max uint64) uint64 {
	n := uint64(0)
	for shift := 0; shift < 64; shift += 7 {
		b := s.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > max {
				s.fail()
			}
			if s.err != nil {
				return 0
			}
			return n
		}
	}
	s.fail()
	return 0
}

// text returns a text of up to max bytes, valid until the next call.
func (s *stateReader) text(max int) []byte { return s.bytes(int(s.number(uint64(max)))) }
