//go:build !linux

package platform

// ResidentMemory is how much of this process is in memory, in bytes; 0 where
// that isn't known.
func ResidentMemory() int64 { return 0 }

func freeProgram() {}

// SystemMemory is known on Linux only.
func SystemMemory() (total, available int64) { return 0, 0 }
