//go:build !linux

package platform

// HugeHeap does something on Linux only.
func HugeHeap(size int) (done func()) { return func() {} }
