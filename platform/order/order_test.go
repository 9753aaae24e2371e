package order

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Both sort as slices does.
func TestAgainstSlices(t *testing.T) {
	type item struct{ key, at int }
	compare := func(a, b item) int { return a.key - b.key }
	for n := range 200 {
		list := make([]item, n)
		for i := range list {
			list[i] = item{rand.IntN(20), i}
		}
		want := slices.Clone(list)
		slices.SortStableFunc(want, compare)
		got := slices.Clone(list)
		Stable(got, compare)
		if !slices.Equal(got, want) {
			t.Fatalf("stable: got %v, want %v", got, want)
		}
		Sort(list, compare)
		if !slices.IsSortedFunc(list, compare) {
			t.Fatalf("not sorted: %v", list)
		}
	}
}
