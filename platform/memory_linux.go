package platform

import (
	"os"
	"strconv"
	"strings"
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
