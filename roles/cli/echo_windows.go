package cli

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// hideInput turns the echo of a console off until restore is called; it does
// nothing if in is no console.
func hideInput(in io.Reader) (restore func()) {
	f, ok := in.(*os.File)
	if !ok {
		return func() {}
	}
	console := windows.Handle(f.Fd())
	var was uint32
	if windows.GetConsoleMode(console, &was) != nil {
		return func() {}
	}
	if windows.SetConsoleMode(console, was&^windows.ENABLE_ECHO_INPUT) != nil {
		return func() {}
	}
	return func() { windows.SetConsoleMode(console, was) }
}
