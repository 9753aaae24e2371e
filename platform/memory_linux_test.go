package platform

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestFreeMemory(t *testing.T) {
	mapped := func() (kib int) { // pages of files: the program's
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "RssFile:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Skip("this kernel doesn't tell:", err)
		}
		return kib
	}
	// What the program needs comes back with its neighbours, and other tests have
	// used more of it than this one does.
	before := mapped()
	FreeMemory()
	if after := mapped(); after >= before {
		t.Errorf("%d kB of the program in memory, %d before", after, before)
	}
}

func TestProgramPages(t *testing.T) {
	f := func(line string, wantStart, wantEnd uintptr, wantOK bool) {
		t.Helper()
		if start, end, ok := programPages([]byte(line)); start != wantStart || end != wantEnd || ok != wantOK {
			t.Errorf("%s: %x, %x, %v", line, start, end, ok)
		}
	}
	f("00400000-00ea2000 r-xp 00000000 fe:00 9977902                            /usr/bin/cs", 0x400000, 0xea2000, true)
	f("00ea2000-01a12000 r--p 00aa2000 fe:00 9977902                            /usr/bin/cs (deleted)", 0xea2000, 0x1a12000, true)
	f("01a12000-01a8d000 rw-p 01612000 fe:00 9977902                            /usr/bin/cs", 0, 0, true)
	f("01a12000-01a8d000 r--s 01612000 fe:00 9977902                            /var/lib/cs/store", 0, 0, true) // others see it, too
	f("28559c800000-28559d000000 rw-p 00000000 00:00 0 ", 0, 0, true)
	f("7ffc6f7f9000-7ffc6f7fb000 r-xp 00000000 00:00 0                          [vdso]", 0, 0, true)
	f("Anonymous:           92 kB", 0, 0, false)
	f("VmFlags: rd ex mr mw me ", 0, 0, false)
	f("", 0, 0, false)
}
