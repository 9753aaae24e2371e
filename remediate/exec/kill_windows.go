package exec

import (
	"errors"
	"os/exec"

	"golang.org/x/sys/windows"
)

// killAll leaves the program to be killed alone: what it started isn't known.
func killAll(*exec.Cmd) {}

// closed tells that the program stopped reading.
func closed(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
