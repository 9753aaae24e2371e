package remediate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cs/decisions"
)

// TestBansAgainstSlow does random things to bans and to a map of decisions.
func TestBansAgainstSlow(t *testing.T) {
	type slow struct {
		prefix netip.Prefix
		until  tenth
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	var o origins
	b, twin := newBans(0), map[int64]slow{}
	some := func() netip.Prefix {
		if rnd.IntN(3) == 0 {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 15: byte(rnd.IntN(200))}), 120+rnd.IntN(9)).Masked()
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(256))}), 28+rnd.IntN(5)).Masked()
	}
	for step := range 20_000 {
		id := int64(rnd.IntN(400)) << rnd.IntN(40)
		if i := b.get(id); i != 0 && rnd.IntN(2) == 0 {
			b.remove(i)
			delete(twin, id)
		} else {
			w := slow{some(), tenth(1 + rnd.IntN(50))}
			d := decisions.Decision{ID: id, Origin: "CAPI", Scenario: fmt.Sprint(rnd.IntN(5)), Type: "ban"}
			b.put(&d, w.prefix, w.until, &o)
			twin[id] = w
		}
		clear(b.loose)
		if b.len != len(twin) || len(b.heap) != len(twin) || b.byID.n != len(twin) {
			t.Fatalf("step %d: %d decisions, %d in the heap, %d by ID, want %d", step, b.len, len(b.heap), b.byID.n, len(twin))
		}
		if step%100 != 0 {
			continue
		}
		last := map[netip.Prefix]tenth{}
		earliest := tenth(1 << 30)
		for id, w := range twin {
			i := b.get(id)
			if i == 0 || b.prefix(b.at(i)) != w.prefix || b.at(i).until != w.until {
				t.Fatalf("step %d: %d is not as it was put", step, id)
			}
			last[w.prefix], earliest = max(last[w.prefix], w.until), min(earliest, w.until)
		}
		if b.byPrefix.n != len(last) {
			t.Fatalf("step %d: %d prefixes, want %d", step, b.byPrefix.n, len(last))
		}
		for p, until := range last {
			if i := b.first(p); i == 0 || b.at(i).until != until {
				t.Fatalf("step %d: the first on %v is record %d", step, p, i)
			}
		}
		if i := b.earliest(); len(twin) > 0 && b.at(i).until != earliest {
			t.Fatalf("step %d: the first to end ends at %d, want %d", step, b.at(i).until, earliest)
		}
	}
}
