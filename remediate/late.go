package remediate

import (
	"container/heap"
	"net/netip"
)

// lateItem is an entry that the kernel drops at a time, though it is wanted a
// little longer.
type lateItem struct {
	at     tenth
	prefix netip.Prefix
}

// lateHeap holds late items, the earliest first. Items that were changed since
// stay in it until their time, when they are recognised by another end.
type lateHeap []lateItem

func (h lateHeap) Len() int           { return len(h) }
func (h lateHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h lateHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap; use push.
func (h *lateHeap) Push(x any) { *h = append(*h, x.(lateItem)) }

// Pop is for container/heap; use due.
func (h *lateHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *lateHeap) push(x lateItem) { heap.Push(h, x) }

// due takes out an item that the kernel drops before a time.
func (h *lateHeap) due(before tenth) (lateItem, bool) {
	if len(*h) == 0 || (*h)[0].at > before {
		return lateItem{}, false
	}
	return heap.Pop(h).(lateItem), true
}
