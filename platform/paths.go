package platform

import (
	"os"
	"path/filepath"
	"runtime"
)

// DataDir is where state is kept when nothing else is said: /var/lib/cs, its
// counterpart of the operating system, or the user's own directory when we
// may not write there.
func DataDir() string {
	dir := "/var/lib/cs"
	switch runtime.GOOS {
	case "windows":
		base := os.Getenv("ProgramData")
		if base == "" {
			base = `C:\ProgramData`
		}
		return filepath.Join(base, "cs")
	case "freebsd", "openbsd", "netbsd":
		dir = "/var/db/cs"
	}
	if os.Geteuid() != 0 {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, ".local", "share", "cs")
		}
	}
	return dir
}
