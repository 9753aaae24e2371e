package decisions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"cs/platform"
)

// The saved set lets a bouncer that starts without its server enforce what it
// knew. Times are wall clock times: what has ended meanwhile is left out when it is read.
//
//	"cs-saved" version(1 byte)
//	count of texts, each length and bytes
//	count of decisions, each
//	  bytes of the address (1 byte, 4 or 16), bits (1 byte), address,
//	  origin, scenario, type (indexes of texts), ID, end, creation (milliseconds since 1970)
//	CRC-32C of all that, 4 bytes little endian
//
// Counts, lengths and indexes are unsigned varints; ID and times are signed ones.
const (
	savedMagic   = "cs-saved"
	savedVersion = 1
	// maxSaved bounds the file that Load reads: about ten million decisions.
	maxSaved = 256 << 20
	// minRecord is the least that one decision takes.
	minRecord = 1 + 1 + 4 + 3 + 3
	// maxText bounds one origin, scenario or type.
	maxText = 4096
)

// ErrCorrupt tells that a saved set is damaged, or not one.
var ErrCorrupt = errors.New("the saved set is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save writes what AppendSaved has made of a Set to a file, whole or not at all.
func Save(path string, saved []byte) error {
	if err := platform.WriteFile(path, saved, 0o600); err != nil {
		return fmt.Errorf("cannot save the decisions: %w", err)
	}
	return nil
}

// Load reads a file that Save wrote and returns the decisions that are in
// force at now. The error is ErrCorrupt when the content is damaged and
// fs.ErrNotExist when there is no file.
func Load(path string, now time.Time) ([]Decision, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot load saved decisions: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSaved+1))
	if err != nil {
		return nil, fmt.Errorf("cannot load saved decisions: %w", err)
	}
	list, err := parseSaved(b, now)
	if err != nil {
		return nil, fmt.Errorf("cannot load saved decisions from %s: %w", path, err)
	}
	return list, nil
}

// AppendSaved appends the Ip and Range decisions of the set in the form that
// Save writes and Load reads. Ends are told by the wall clock of now, which may
// have been set since they came.
func (s *Set) AppendSaved(b []byte, now time.Time) []byte {
	start := len(b)
	b = append(append(b, savedMagic...), savedVersion)
	index := map[string]uint64{}
	var texts []byte
	number := func(text string) uint64 {
		i, ok := index[text]
		if !ok {
			i = uint64(len(index))
			index[text] = i
			texts = append(binary.AppendUvarint(texts, uint64(len(text))), text...)
		}
		return i
	}
	kinds := make([]savedKind, len(s.kinds))
	count := 0
	for i := range s.kinds {
		k := &s.kinds[i]
		if k.Count == 0 || k.Scope != ScopeIP && k.Scope != ScopeRange || max(len(k.Origin), len(k.Scenario), len(k.Type)) > maxText {
			continue
		}
		kinds[i] = savedKind{true, number(k.Origin), number(k.Scenario), number(k.Type)}
		count += k.Count
	}
	b = append(binary.AppendUvarint(b, uint64(len(index))), texts...)
	b = binary.AppendUvarint(b, uint64(count))
	b = slices.Grow(b, count*savedRecord+4)
	for _, i := range s.heap {
		r := s.at(i)
		k := &kinds[r.kind]
		if !k.keep {
			continue
		}
		addr := r.addr[:]
		if r.flags&isIPv4 != 0 {
			addr = addr[12:]
		}
		b = append(append(b, byte(len(addr)), r.bits), addr...)
		b = binary.AppendUvarint(b, k.origin)
		b = binary.AppendUvarint(b, k.scenario)
		b = binary.AppendUvarint(b, k.typ)
		b = binary.AppendVarint(b, r.id)
		b = binary.AppendVarint(b, now.Add(s.end(r).Sub(now)).UnixMilli())
		created := time.Time{}.UnixMilli()
		if r.created != noTime {
			created = r.created / int64(time.Millisecond)
		}
		b = binary.AppendVarint(b, created)
	}
	return appendSum(b, start)
}

// savedKind is a Kind by the numbers of its texts.
type savedKind struct {
	keep                  bool
	origin, scenario, typ uint64
}

// savedRecord is what one decision about an IPv4 address takes at most, if it has few kinds.
const savedRecord = 1 + 1 + 4 + 3 + 10 + 6 + 6

func appendSum(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func parseSaved(b []byte, now time.Time) ([]Decision, error) {
	if len(b) > maxSaved {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrCorrupt, maxSaved)
	}
	if !bytes.HasPrefix(b, []byte(savedMagic)) || len(b) < len(savedMagic)+1+4 {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrCorrupt)
	}
	if v := b[len(savedMagic)]; v != savedVersion {
		return nil, fmt.Errorf("%w: it has version %d, known is %d", ErrCorrupt, v, savedVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	r := savedReader{b: body[len(savedMagic)+1:]}
	texts := make([]string, r.count(1))
	for i := range texts {
		texts[i] = string(r.bytes(r.count(1)))
	}
	n := r.count(minRecord)
	list := make([]Decision, 0, n)
	for range n {
		d, ok := r.decision(texts)
		if !ok {
			break
		}
		if d.Active(now) {
			list = append(list, d)
		}
	}
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: it is inconsistent", ErrCorrupt)
	}
	return list, nil
}

// savedReader reads a saved set; bad is set at the first thing that is wrong.
type savedReader struct {
	b   []byte
	bad bool
}

func (r *savedReader) fail() { r.b, r.bad = nil, true }

// count reads the number of things to come that take at least size bytes each.
func (r *savedReader) count(size int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)-n)/uint64(size) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *savedReader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *savedReader) signed() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *savedReader) text(texts []string) string {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v >= uint64(len(texts)) {
		r.fail()
		return ""
	}
	r.b = r.b[n:]
	return texts[v]
}

func (r *savedReader) decision(texts []string) (Decision, bool) {
	head := r.bytes(2)
	if head == nil {
		return Decision{}, false
	}
	addr, ok := netip.AddrFromSlice(r.bytes(int(head[0])))
	p := netip.PrefixFrom(addr, int(head[1]))
	if !ok || !p.IsValid() || p != p.Masked() || addr.Is4In6() {
		r.fail()
		return Decision{}, false
	}
	d := Decision{Scope: ScopeRange, Value: p.String()}
	if p.IsSingleIP() {
		d.Scope, d.Value = ScopeIP, addr.String()
	}
	d.Origin, d.Scenario, d.Type = r.text(texts), r.text(texts), r.text(texts)
	d.ID = r.signed()
	d.Until = time.UnixMilli(r.signed()).UTC()
	d.Created = time.UnixMilli(r.signed()).UTC()
	return d, !r.bad
}
