package bucket

import (
	"encoding/binary"
	"math/rand"
	"testing"
)

// slowSip is SipHash-c-d as its authors describe it.
func slowSip(c, d int, k0, k1 uint64, text []byte) uint64 {
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	rounds := func(n int) {
		for range n {
			v[0], v[1], v[2], v[3] = sipRound(v[0], v[1], v[2], v[3])
		}
	}
	padded := append([]byte{}, text...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(text)))
	for i := 0; i < len(padded); i += 8 {
		m := binary.LittleEndian.Uint64(padded[i:])
		v[3] ^= m
		rounds(c)
		v[0] ^= m
	}
	v[2] ^= 0xff
	rounds(d)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestSipHash(t *testing.T) {
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	text := make([]byte, 40)
	for i := range text {
		text[i] = byte(i)
	}
	// The example of the paper, which is about SipHash-2-4.
	if got := slowSip(2, 4, k0, k1, text[:15]); got != 0xa129ca6149be45e5 {
		t.Fatalf("the twin is wrong: %x", got)
	}
	r := rand.New(rand.NewSource(1))
	for n := range text {
		s := secret{r.Uint64(), r.Uint64()}
		if got, want := s.hash(string(text[:n])), slowSip(1, 3, s.k0, s.k1, text[:n]); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	t := New(Config{})
	for b.Loop() {
		t.Key("198.51.100.123")
	}
}
