//go:build edge

package cli

// optional are the parts that this build leaves out.
var optional []string

// completeConsole: there is no such command.
func completeConsole() []string { return nil }
