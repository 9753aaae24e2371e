//go:build !edge

package cli

// optional are the parts that the build for routers leaves out.
var optional = []string{"cscli_setup"}

func completeConsole() []string { return consoleNames() }
