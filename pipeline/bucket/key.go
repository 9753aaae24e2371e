package bucket

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Key stands for what an event is grouped by: a hash under a secret of the
// table, so that nobody outside can make two groups meet in one bucket. By
// chance, one new group in 10^13 meets one of a million others.
type Key uint64

// secret is what a table hashes with. It outlives the process with the buckets:
// the texts of the groups are not kept.
type secret struct{ k0, k1 uint64 }

// Key returns the key of a group value.
func (t *Table) Key(group string) Key { return Key(t.secret.hash(group)) }

// Value returns what Pour.Distinct takes for a text.
func (t *Table) Value(text string) uint64 { return t.secret.hash(text) }

// of returns the key of a cell, which tells those of one Key apart, see ident.
// It is its own inverse.
func (k Key) of(id uint32) uint64 { return uint64(k) ^ uint64(id+1)*0x9E3779B97F4A7C15 }

// hash is SipHash-1-3 (Aumasson and Bernstein, 2012): a keyed hash whose
// collisions can't be found without the key, as hash/maphash is, but with a key
// that can be written down.
func (s secret) hash(text string) uint64 {
	v0, v1 := s.k0^0x736f6d6570736575, s.k1^0x646f72616e646f6d
	v2, v3 := s.k0^0x6c7967656e657261, s.k1^0x7465646279746573
	b := unsafe.Slice(unsafe.StringData(text), len(text))
	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v2 += v1
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
