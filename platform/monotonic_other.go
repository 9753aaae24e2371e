//go:build !linux

package platform

import "time"

// monotonic is of interest to systemd only, which is Linux's.
func monotonic() time.Duration { return 0 }

// Slept is known on Linux only.
func Slept() time.Duration { return 0 }
