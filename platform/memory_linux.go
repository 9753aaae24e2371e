package platform

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ResidentMemory is how much of this process is in memory, in bytes; 0 where
// that isn't known.
func ResidentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm") // man proc: in pages, the second number
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// SystemMemory is how much memory the machine has, and how much of it programs can get
// without others' being swapped, in bytes; 0 where that isn't known.
func SystemMemory() (total, available int64) {
	text, err := os.ReadFile("/proc/meminfo") // man proc
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch n, _ := strconv.ParseInt(fields[1], 10, 64); fields[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	return total, available
}

// freeProgram unmaps the pages of the program's code and constants. Those that
// are needed again come back from the page cache; the rest, which is most of them
// in a program that has started, counts for this process no more.
func freeProgram() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // it is a favour
	}
	defer f.Close()
	var start, end uintptr // of the mapping that the lines are about; 0: none of ours
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Bytes()
		if from, to, ok := programPages(line); ok {
			start, end = from, to
		}
		// A page that was changed, as the loader does in some kinds of programs,
		// would come back unchanged.
		if start != 0 && bytes.HasPrefix(line, []byte("Anonymous:")) {
			if fields := bytes.Fields(line); string(fields[1]) == "0" {
				_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_DONTNEED)
			}
			start = 0
		}
	}
}

// programPages reads the first line of a mapping in /proc/PID/smaps (man proc):
// "start-end perms offset dev inode path". ok is false for other lines, and both
// addresses are 0 if it isn't one that a file has been mapped to for reading only.
func programPages(line []byte) (start, end uintptr, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 5 || bytes.HasSuffix(fields[0], []byte(":")) {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(string(fields[0]), "-")
	a, err := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if err != nil || err2 != nil {
		return 0, 0, false
	}
	perms := fields[1]
	if len(fields) < 6 || fields[5][0] != '/' || bytes.IndexByte(perms, 'w') >= 0 || bytes.IndexByte(perms, 'p') < 0 {
		return 0, 0, true
	}
	return uintptr(a), uintptr(b), true
}
