package api

import (
	"os"
	"runtime"
	"strings"
)

// LocalOS names the operating system that we run on: as its distribution
// calls itself in os-release(5), or by Go's name for it.
func LocalOS() OS {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err := os.ReadFile(path); err == nil {
			return parseOSRelease(string(text))
		}
	}
	return OS{Name: runtime.GOOS, Version: "unknown", Family: runtime.GOOS}
}

func parseOSRelease(text string) OS {
	found := OS{Name: "linux", Version: "unknown", Family: "linux"}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value = strings.Trim(value, `"'`); value == "" {
			continue
		}
		switch key {
		case "ID":
			found.Name = value
		case "VERSION_ID":
			found.Version = value
		}
	}
	return found
}
