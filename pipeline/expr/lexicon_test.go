package expr

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestLexicon(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() string {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = "abAB\xff"[r.IntN(5)]
		}
		return string(b)
	}
	for n := range 300 {
		m := map[string]int32{}
		var texts []string
		var ids []int32
		for range n {
			s := random()
			if n%7 == 0 { // differ in the middle only
				s = "the same" + s + "at the end"
			}
			if _, ok := m[s]; !ok {
				m[s] = int32(len(ids))
				texts, ids = append(texts, s), append(ids, m[s])
			}
		}
		w, set := newLexicon(texts, ids), newTextSet(append(texts, texts...))
		for s, id := range m {
			if w.find(s) != id || !set.has(s) {
				t.Fatalf("%d texts: %q is %d, want %d", n, s, w.find(s), id)
			}
		}
		for range 200 {
			s := random()
			want, ok := m[s]
			if !ok {
				want = -1
			}
			if w.find(s) != want || set.has(s) != ok {
				t.Fatalf("%d texts: %q is %d, want %d", n, s, w.find(s), want)
			}
		}
	}
	if w := newLexicon(nil, nil); w.has("") || w.has("x") {
		t.Error("an empty set has something")
	}
}

func BenchmarkLexicon(b *testing.B) {
	var texts []string
	m := map[string]bool{}
	for i := range 60 {
		texts = append(texts, fmt.Sprintf("log_type_%d", i*7))
		m[texts[i]] = true
	}
	w := newTextSet(texts)
	n := 0
	b.Run("lexicon", func(b *testing.B) {
		for b.Loop() {
			if w.has(texts[n&31]) {
				n++
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		for b.Loop() {
			if m[texts[n&31]] {
				n++
			}
		}
	})
}
