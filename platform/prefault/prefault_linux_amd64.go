// Package prefault maps, when a program that imports it starts, the memory that
// starting is about to write to: the program's variables and the beginning of the heap.
//
// The shortest command writes to 300 pages. Each is a page fault, and some virtual
// machines (PVM, nested ones) take 15 µs for one. All at once they take half a
// millisecond there, and elsewhere no longer than one by one. Where there are huge pages
// the heap begins in one. (Text and constants are faults, too. To map them all was
// measured: it takes as long as is gained.)
package prefault

import (
	"syscall"
	"unsafe"
)

const (
	page     = 4096
	hugePage = 2 << 20
	// heapBegin is so much of the heap as the shortest commands need, zeroed of the
	// variables that begin as zeroes.
	heapBegin = 1280 << 10
	zeroed    = 256 << 10
)

// Of linux/elf.h, linux/auxvec.h and asm-generic/mman-common.h.
const (
	segmentLoad    = 1 // PT_LOAD
	segmentHeaders = 6 // PT_PHDR
	canWrite       = 2 // PF_W

	auxHeaders     = 3 // AT_PHDR
	auxHeaderCount = 5 // AT_PHNUM

	populateWrite = 23 // MADV_POPULATE_WRITE, Linux 5.14
	collapse      = 25 // MADV_COLLAPSE, Linux 6.1
)

// header is a program header of ELF, 64 bits.
type header struct {
	kind, flags           uint32
	_, address, _, inFile uint64
	inMemory, _           uint64
}

//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr

var first *[64]byte // something on the heap

// It imports little, so that this comes before what most other packages do first.
func init() {
	list, moved := headers()
	for i := range list {
		if h := &list[i]; h.kind == segmentLoad && h.flags&canWrite != 0 {
			populate(uintptr(h.address)+moved, uintptr(min(h.inMemory, h.inFile+zeroed)))
		}
	}
	first = new([64]byte)
	begin := uintptr(unsafe.Pointer(first)) &^ (256<<10 - 1)
	end := begin + heapBegin
	if huge := begin &^ (hugePage - 1); unused(huge) <= hugePage/2 && advise(huge, hugePage, collapse) {
		begin = huge + hugePage
	}
	if begin < end {
		populate(begin, end-begin)
	}
}

// headers returns the headers of this program, and how far it is from the addresses in them.
func headers() (list []header, moved uintptr) {
	var table, n uintptr
	for aux := getAuxv(); len(aux) >= 2; aux = aux[2:] {
		switch aux[0] {
		case auxHeaders:
			table = aux[1]
		case auxHeaderCount:
			n = aux[1]
		}
	}
	if table == 0 {
		return nil, 0
	}
	list = unsafe.Slice(*(**header)(unsafe.Pointer(&table)), n)
	for i := range list {
		if list[i].kind == segmentHeaders {
			return list, table - uintptr(list[i].address)
		}
	}
	return nil, 0
}

// unused returns how much of a huge page lies in front of the heap: the runtime lets that
// begin at random, and what is before it would be in memory for nothing, for good.
func unused(huge uintptr) uintptr {
	var there [hugePage / page]byte
	_, _, _ = syscall.RawSyscall(syscall.SYS_MINCORE, huge, hugePage, uintptr(unsafe.Pointer(&there)))
	for i := range there {
		if there[i]&1 != 0 {
			return uintptr(i) * page
		}
	}
	return hugePage
}

// populate maps pages. Where the kernel can't, and behind what there is, they come one
// by one as ever.
func populate(start, length uintptr) {
	end := start + length
	start &^= page - 1
	advise(start, end-start, populateWrite)
}

func advise(start, length, advice uintptr) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_MADVISE, start, length, advice)
	return errno == 0
}
