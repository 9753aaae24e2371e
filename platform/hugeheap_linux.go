package platform

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page of most processors.
const hugePage = 2 << 20

// hugeHeap is where the heap has been grown for HugeHeap: around all of that, and
// perhaps around more of the heap.
var hugeHeap grown

type grown struct {
	sync.Mutex
	begin, end uintptr
	users      int // for whom it is in huge pages
}

// HugeHeap has about so many bytes that the heap grows by lie in huge pages until done is
// called, for work that is about to take as much at once, and soon gives it back. A
// page fault takes 0.2 µs, in some virtual machines (PVM, nested ones) 20; a large
// upload takes 25,000 of them otherwise, most of its time there. It may collect
// garbage. Where there are no huge pages, or memory is scarce, it does nothing.
func HugeHeap(size int) (done func()) {
	if _, available := SystemMemory(); size < 4*hugePage || !hugePages() || int64(size) > min(available, debug.SetMemoryLimit(-1))/8 {
		return func() {}
	}
	g := &hugeHeap
	g.Lock()
	defer g.Unlock()
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); g.end == 0 || m.HeapIdle < uint64(size) {
		begin, end := growHeap(size)
		if g.end == 0 {
			g.begin, g.end = begin, end
		}
		g.begin, g.end = min(g.begin, begin), max(g.end, end)
	}
	g.users++
	g.advise(unix.MADV_HUGEPAGE)
	return sync.OnceFunc(func() {
		g.Lock()
		defer g.Unlock()
		if g.users--; g.users == 0 {
			// What stays in use there must not become 2 MB for each few bytes.
			g.advise(unix.MADV_NOHUGEPAGE)
		}
	})
}

// growHeap has the runtime take memory from the system that the heap then grows into,
// and returns where the huge pages in it are.
func growHeap(size int) (begin, end uintptr) {
	// Something large is mapped in one piece, and what a Builder is going to hold isn't
	// written to. The next collection makes it free.
	restore := GrowHeap(-1)
	var large strings.Builder
	large.Grow(size)
	large.WriteByte(0)
	begin = uintptr(unsafe.Pointer(unsafe.StringData(large.String())))
	large.Reset()
	restore()
	runtime.GC()
	end = (begin + uintptr(size)) &^ (hugePage - 1)
	return (begin + hugePage - 1) &^ (hugePage - 1), end
}

// advise tells the system how to map what isn't yet. Between the heap's parts there may
// be holes, which it reports, but only after it has done the rest.
func (g *grown) advise(advice uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, g.begin, g.end-g.begin, advice)
}

// hugePages tells whether the system gives huge pages to who asks for them, and to no
// others.
var hugePages = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled") // admin-guide/mm/transhuge.rst
	return err == nil && bytes.Contains(text, []byte("[madvise]"))
})
