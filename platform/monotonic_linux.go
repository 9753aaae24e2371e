package platform

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is CLOCK_MONOTONIC.
func monotonic() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

// Slept returns for how long the machine has slept since it was booted. Go's monotonic
// times, and the kernel's timeouts, stand still meanwhile.
func Slept() time.Duration { return clock(unix.CLOCK_BOOTTIME) - clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(id, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
