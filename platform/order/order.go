// Package order sorts lists of any type with one copy of the code that sorts, and
// keeps heaps of records. slices.SortFunc is compiled anew for each type, 10 KB a
// time, which is a megabyte of the small builds. Sort takes twice the time and one
// allocation, so what handles log lines uses slices.
package order

import "sort"

// Sort sorts a list. compare returns less than 0 if a comes before b.
func Sort[T any](list []T, compare func(a, b T) int) { sort.Sort(&by[T]{list, compare}) }

// Stable sorts a list, and keeps the order of what is equal.
func Stable[T any](list []T, compare func(a, b T) int) { sort.Stable(&by[T]{list, compare}) }

type by[T any] struct {
	list    []T
	compare func(a, b T) int
}

func (s *by[T]) Len() int           { return len(s.list) }
func (s *by[T]) Less(i, j int) bool { return s.compare(s.list[i], s.list[j]) < 0 }
func (s *by[T]) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }
