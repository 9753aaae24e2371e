package expr

import (
	"math/rand"
	"net/netip"
	"testing"
)

// dotted takes what netip takes, or leaves it to it.
func TestDottedIsTheParser(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	const letters = "0123456789..1225"
	taken := 0
	f := func(s string) {
		a, ok := dotted(s)
		want, err := netip.ParseAddr(s)
		if ok && (err != nil || a != want) {
			t.Fatalf("%q: %v, want %v, %v", s, a, want, err)
		}
		if !ok && err == nil && want.Is4() {
			t.Fatalf("%q is not taken", s)
		}
		if ok {
			taken++
		}
	}
	for range 300_000 {
		b := make([]byte, 5+rng.Intn(11))
		for i := range b {
			b[i] = letters[rng.Intn(len(letters))]
		}
		f(string(b))
		f(netip.AddrFrom4([4]byte{byte(rng.Intn(256)), byte(rng.Intn(256)), byte(rng.Intn(256)), byte(rng.Intn(256))}).String())
	}
	for _, s := range []string{"", ".", "1.2.3.", "01.2.3.4", "1.2.3.256", "1.2.3.4.5", "1..2.3", "0.0.0.0", "00.0.0.0", "1.2.3.4 ", "::1.2.3.4"} {
		f(s)
	}
	if taken < 300_000 {
		t.Errorf("%d were taken", taken)
	}
}
