package container

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// isVolume tells whether a path outlives the container: something is mounted on it or
// above it. If that can't be told, it does.
func isVolume(path string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	defer f.Close()
	return mounted(f, path)
}

// mounted looks for the mount that a path is on, in the form of proc(5), and tells
// whether that is not the root.
func mounted(mountinfo io.Reader, path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	escapes := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[4] == "/" {
			continue
		}
		if point := escapes.Replace(fields[4]); abs == point || strings.HasPrefix(abs, point+"/") {
			return true
		}
	}
	return false
}
