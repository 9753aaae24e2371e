//go:build !windows

package exec

import (
	"errors"
	"os/exec"
	"syscall"
)

// killAll has a program killed with all that it started.
func killAll(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// closed tells that the program stopped reading.
func closed(err error) bool { return errors.Is(err, syscall.EPIPE) }
