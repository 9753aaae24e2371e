//go:build !edge

package cli

func completeConsole() []string { return consoleNames() }
