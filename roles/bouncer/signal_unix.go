//go:build unix

package bouncer

import (
	"os"
	"syscall"
)

// askAgain are the signals at which the whole set is asked for.
var askAgain = []os.Signal{syscall.SIGUSR1}
