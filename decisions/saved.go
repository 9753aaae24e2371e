package decisions

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"time"
)

// The saved set lets a bouncer that starts without its server enforce what it
// knew. Times are wall clock times: what has ended meanwhile is left out when it
// is read. It is written and read a block at a time:
//
//	"cs-saved" version(1 byte)
//	records, each
//	  0, number of a kind, its origin, scenario and type, each length and bytes; or
//	  4 or 16 (1 byte), bits (1 byte), address of so many bytes, number of the kind,
//	  ID, end (milliseconds since 1970)
//	255
//	CRC-32C of all that, 4 bytes little endian
//
// Numbers and lengths are unsigned varints; ID and time are signed ones. A kind
// comes before its decisions; a later one may take its number.
const (
	savedMagic   = "cs-saved"
	savedVersion = 2
	savedEnd     = 255
	// maxSaved bounds the file that Load reads: about ten million decisions.
	maxSaved = 256 << 20
	// maxText bounds one origin, scenario or type, and maxKinds their number.
	maxText  = 4096
	maxKinds = 1 << 16
	// maxRecord is what one decision takes at most.
	maxRecord = 2 + 16 + 3*binary.MaxVarintLen64
	// savedPart is how many decisions Load hands out at a time.
	savedPart = 4096
)

// ErrCorrupt tells that a saved set is damaged, or not one.
var ErrCorrupt = errors.New("the saved set is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SavedKind is what a saved decision has in common with many others.
type SavedKind struct{ Origin, Scenario, Type string }

// SavedWriter writes a saved set. Close it at the end.
type SavedWriter struct {
	w     io.Writer
	b     []byte
	sum   uint32
	kinds []SavedKind // by number, as they were written
	err   error
}

// NewSavedWriter returns a writer of a saved set.
func NewSavedWriter(w io.Writer) *SavedWriter {
	s := &SavedWriter{w: w}
	s.b = append(append(s.b, savedMagic...), savedVersion)
	return s
}

// Add appends a decision of a kind, which has a number below 65,536 that may be
// another one's later. It writes nothing before Flush.
func (s *SavedWriter) Add(number int, k *SavedKind, p netip.Prefix, id int64, until time.Time) {
	if max(len(k.Origin), len(k.Scenario), len(k.Type)) > maxText {
		return
	}
	for number >= len(s.kinds) {
		s.kinds = append(s.kinds, SavedKind{})
	}
	if s.kinds[number] != *k || *k == (SavedKind{}) {
		s.kinds[number] = *k
		s.b = binary.AppendUvarint(append(s.b, 0), uint64(number))
		for _, text := range [...]string{k.Origin, k.Scenario, k.Type} {
			s.b = append(binary.AppendUvarint(s.b, uint64(len(text))), text...)
		}
	}
	if a := p.Addr(); a.Is4() {
		b := a.As4()
		s.b = append(append(s.b, 4, byte(p.Bits())), b[:]...)
	} else {
		b := a.As16()
		s.b = append(append(s.b, 16, byte(p.Bits())), b[:]...)
	}
	s.b = binary.AppendUvarint(s.b, uint64(number))
	s.b = binary.AppendVarint(s.b, id)
	s.b = binary.AppendVarint(s.b, until.UnixMilli())
}

// Flush writes what was added.
func (s *SavedWriter) Flush() error {
	if s.err == nil {
		s.sum = crc32.Update(s.sum, castagnoli, s.b)
		_, s.err = s.w.Write(s.b)
	}
	s.b = s.b[:0]
	return s.err
}

// Close ends the saved set.
func (s *SavedWriter) Close() error {
	s.b = append(s.b, savedEnd)
	if err := s.Flush(); err != nil {
		return err
	}
	_, err := s.w.Write(binary.LittleEndian.AppendUint32(nil, s.sum))
	return err
}

// Load reads a file that a SavedWriter wrote and hands out the decisions that are
// in force at now, some at a time. The list is good during the call. The error is
// ErrCorrupt when the content is damaged (mostly before anything was handed out),
// fs.ErrNotExist when there is no file, or what part returned.
func Load(path string, now time.Time, part func([]Decision) error) error {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		err = readSaved(f, now, part)
	}
	if err != nil {
		return fmt.Errorf("cannot load saved decisions from %s: %w", path, err)
	}
	return nil
}

func readSaved(f io.ReadSeeker, now time.Time, part func([]Decision) error) error {
	size, err := checkSaved(f)
	if err != nil {
		return err
	}
	if _, err := f.Seek(int64(len(savedMagic)+1), io.SeekStart); err != nil {
		return err
	}
	r := savedReader{r: bufio.NewReaderSize(io.LimitReader(f, size-int64(len(savedMagic)+1+4)), 64<<10)}
	list := make([]Decision, 0, savedPart)
	for {
		d, more := r.next()
		if r.err != nil {
			return r.err
		}
		if more && d.Active(now) {
			list = append(list, d)
		}
		if len(list) == savedPart || !more && len(list) > 0 {
			if err := part(list); err != nil {
				return err
			}
			list = list[:0]
		}
		if !more {
			return nil
		}
	}
}

// checkSaved finds out whether f is a whole saved set, and how long it is.
func checkSaved(f io.Reader) (size int64, err error) {
	corrupt := func(format string, args ...any) (int64, error) {
		return 0, fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	sum := uint32(0)
	buf := make([]byte, 256<<10)
	tail := 0 // bytes at the beginning of buf that may be the checksum
	for {
		n, err := io.ReadFull(f, buf[tail:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		b := buf[:tail+n]
		if size == 0 {
			if len(b) < len(savedMagic)+1+1+4 || string(b[:len(savedMagic)]) != savedMagic {
				return corrupt("it does not begin like one")
			}
			if v := b[len(savedMagic)]; v != savedVersion {
				return corrupt("it has version %d, known is %d", v, savedVersion)
			}
		}
		if size += int64(n); size > maxSaved {
			return corrupt("it is longer than %d bytes", maxSaved)
		}
		tail = min(4, len(b))
		sum = crc32.Update(sum, castagnoli, b[:len(b)-tail])
		copy(buf, b[len(b)-tail:])
		if err != nil {
			if tail < 4 || binary.LittleEndian.Uint32(buf) != sum {
				return corrupt("its checksum is wrong")
			}
			return size, nil
		}
	}
}

// savedReader reads the records of a saved set; err is set at the first thing
// that is wrong.
type savedReader struct {
	r     *bufio.Reader
	kinds []SavedKind
	err   error
}

func (r *savedReader) fail() (Decision, bool) {
	r.err = fmt.Errorf("%w: it is inconsistent", ErrCorrupt)
	return Decision{}, false
}

// next returns the next decision, or false at the end.
func (r *savedReader) next() (Decision, bool) {
	for {
		switch head, err := r.r.ReadByte(); {
		case err != nil:
			return r.fail()
		case head == savedEnd:
			if _, err := r.r.ReadByte(); err != io.EOF {
				return r.fail()
			}
			return Decision{}, false
		case head == 0:
			if !r.kind() {
				return r.fail()
			}
		case head == 4 || head == 16:
			return r.decision(int(head))
		default:
			return r.fail()
		}
	}
}

func (r *savedReader) kind() bool {
	number, err := binary.ReadUvarint(r.r)
	if err != nil || number >= maxKinds {
		return false
	}
	for number >= uint64(len(r.kinds)) {
		r.kinds = append(r.kinds, SavedKind{})
	}
	k := &r.kinds[number]
	for _, text := range [...]*string{&k.Origin, &k.Scenario, &k.Type} {
		n, err := binary.ReadUvarint(r.r)
		if err != nil || n > maxText {
			return false
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r.r, b); err != nil {
			return false
		}
		*text = string(b)
	}
	return true
}

func (r *savedReader) decision(length int) (Decision, bool) {
	b, _ := r.r.Peek(maxRecord) // fewer at the end
	if len(b) < 1+length {
		return r.fail()
	}
	addr, _ := netip.AddrFromSlice(b[1 : 1+length])
	p := netip.PrefixFrom(addr, int(b[0]))
	number, n1 := binary.Uvarint(b[1+length:])
	id, n2 := binary.Varint(b[1+length+max(n1, 0):])
	until, n3 := binary.Varint(b[1+length+max(n1, 0)+max(n2, 0):])
	if n1 <= 0 || n2 <= 0 || n3 <= 0 || number >= uint64(len(r.kinds)) || !p.IsValid() || p != p.Masked() || addr.Is4In6() {
		return r.fail()
	}
	_, _ = r.r.Discard(1 + length + n1 + n2 + n3)
	k := &r.kinds[number]
	d := Decision{ID: id, Origin: k.Origin, Scenario: k.Scenario, Type: k.Type, Scope: ScopeRange, Until: time.UnixMilli(until).UTC()}
	if p.IsSingleIP() {
		d.Scope, d.Value = ScopeIP, addr.String()
	} else {
		d.Value = p.String()
	}
	return d, true
}
