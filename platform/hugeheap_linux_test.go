package platform

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestHugeHeap: the heap grows into huge pages, and only as long as somebody says so.
func TestHugeHeap(t *testing.T) {
	if !hugePages() {
		t.Skip("this system gives no huge pages to who asks for them")
	}
	const size = 32 << 20
	advised := func() (bytes int) { // of mappings that are to be in huge pages
		text, err := os.ReadFile("/proc/self/smaps")
		if err != nil {
			t.Fatal(err)
		}
		kib := 0
		for line := range strings.Lines(string(text)) {
			switch fields := strings.Fields(line); fields[0] {
			case "Size:":
				kib, _ = strconv.Atoi(fields[1])
			case "VmFlags:":
				if strings.Contains(line, " hg") {
					bytes += kib << 10
				}
			}
		}
		return bytes
	}
	huge := func() int {
		text, err := os.ReadFile("/proc/self/smaps_rollup")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "AnonHugePages:")
		kib, _ := strconv.Atoi(strings.Fields(rest)[0])
		return kib << 10
	}
	FreeMemory()
	lacking := func() string { // how often the system had no huge page to give
		text, _ := os.ReadFile("/proc/vmstat")
		_, rest, _ := strings.Cut(string(text), "thp_fault_fallback ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	before, few, lacked := advised(), huge(), lacking()
	done := HugeHeap(size)
	if n := advised() - before; n < size-2*hugePage {
		t.Errorf("%d bytes are to lie in huge pages, want about %d", n, size)
	}
	if n := huge() - few; n > 2*hugePage {
		t.Errorf("%d bytes are in memory before anybody wants them", n)
	}
	var use [][]byte
	for range size >> 20 {
		use = append(use, make([]byte, 1<<20))
	}
	for _, b := range use {
		b[0] = 1
	}
	if n := huge() - few; n < size/2 && lacking() == lacked {
		t.Errorf("of 32 MB that the heap grew by %d bytes lie in huge pages", n)
	}
	runtime.KeepAlive(use)
	done()
	if n := advised(); n > before {
		t.Errorf("afterwards %d bytes more are to lie in huge pages", n-before)
	}
}

// TestNoHugeHeap: little is asked for, or more than there is to have.
func TestNoHugeHeap(t *testing.T) {
	for _, size := range []int{-5, 0, hugePage, math.MaxInt} {
		done := HugeHeap(size)
		if hugeHeap.users != 0 {
			t.Errorf("%d bytes: the heap lies in huge pages", size)
		}
		done()
	}
}
