package platform

import (
	"os"
	"os/signal"
	"syscall"
)

// Hangups returns a channel that tells of each SIGHUP, until stop is called:
// operators ask for a reload with it. It tells of none if the signal is ignored,
// as nohup makes it. Signals that come while one waits are one.
func Hangups() (hup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	if signal.Ignored(syscall.SIGHUP) {
		return c, func() {}
	}
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
