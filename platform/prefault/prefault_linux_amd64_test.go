package prefault

import (
	"bytes"
	"os"
	"strconv"
	"testing"
	"unsafe"
)

// TestPopulated: pages of variables and of the heap are there before anybody writes to them.
func TestPopulated(t *testing.T) {
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil && older(string(release), 5, 14) {
		t.Skipf("Linux %s can't", release)
	}
	list, moved := headers()
	written := 0
	for _, h := range list {
		if h.kind == segmentLoad && h.flags&canWrite != 0 {
			written++
			for at := uintptr(h.address) + moved; at < uintptr(h.address+h.inFile)+moved; at += page {
				if !present(t, at) {
					t.Fatalf("the page of variables at %#x is missing", at)
				}
			}
		}
	}
	if written == 0 {
		t.Fatal("the program has no variables")
	}
	heap := uintptr(unsafe.Pointer(first)) &^ (256<<10 - 1)
	for at := heap; at < heap+64<<10; at += page {
		if !present(t, at) {
			t.Fatalf("the page of the heap at %#x is missing", at)
		}
	}
}

func older(release string, major, minor int) bool {
	var have [2]int
	for i, part := range bytes.SplitN([]byte(release), []byte("."), 3)[:2] {
		have[i], _ = strconv.Atoi(string(part))
	}
	return have[0] < major || have[0] == major && have[1] < minor
}

// present asks /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst): bit 63.
func present(t *testing.T, at uintptr) bool {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	var entry [8]byte
	if _, err := f.ReadAt(entry[:], int64(at/page*8)); err != nil {
		t.Fatal(err)
	}
	return entry[7]&0x80 != 0
}
