//go:build edge

package cli

// completeConsole: there is no such command.
func completeConsole() []string { return nil }
