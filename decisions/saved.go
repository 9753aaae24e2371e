package decisions

import (
	"bytes"
	"cmp"
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
//	count of decisions, in the order of their prefixes, each
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

// Save writes the Ip and Range decisions of list to a file, whole or not at
// all. Others are left out.
func Save(path string, list []Decision) error {
	if err := platform.WriteFile(path, appendSaved(nil, list), 0o600); err != nil {
		return fmt.Errorf("cannot save %d decisions: %w", len(list), err)
	}
	return nil
}

// Load reads a file that Save wrote and returns the decisions that are in
// force at now, sorted by prefix. The error is ErrCorrupt when the content is damaged and
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

func appendSaved(b []byte, list []Decision) []byte {
	type saved struct {
		prefix netip.Prefix
		d      *Decision
	}
	var keep []saved
	index := map[string]uint64{}
	var texts []string
	for i := range list {
		d := &list[i]
		p, ok := d.Prefix()
		if !ok || max(len(d.Origin), len(d.Scenario), len(d.Type)) > maxText {
			continue
		}
		keep = append(keep, saved{p, d})
		for _, s := range [...]string{d.Origin, d.Scenario, d.Type} {
			if _, ok := index[s]; !ok {
				index[s] = uint64(len(texts))
				texts = append(texts, s)
			}
		}
	}
	slices.SortFunc(keep, func(a, b saved) int {
		return cmp.Or(a.prefix.Compare(b.prefix), cmp.Compare(a.d.ID, b.d.ID))
	})

	start := len(b)
	b = append(append(b, savedMagic...), savedVersion)
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(b, uint64(len(keep)))
	for _, k := range keep {
		addr := k.prefix.Addr().AsSlice()
		b = append(append(b, byte(len(addr)), byte(k.prefix.Bits())), addr...)
		b = binary.AppendUvarint(b, index[k.d.Origin])
		b = binary.AppendUvarint(b, index[k.d.Scenario])
		b = binary.AppendUvarint(b, index[k.d.Type])
		b = binary.AppendVarint(b, k.d.ID)
		b = binary.AppendVarint(b, k.d.Until.UnixMilli())
		b = binary.AppendVarint(b, k.d.Created.UnixMilli())
	}
	return appendSum(b, start)
}

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
