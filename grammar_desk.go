//go:build !edge && !bouncer_only

package main

import "cs/roles/cli"

// desk are the commands that a router doesn't need.
type desk struct {
	Notifications cli.Notifications `cmd:"" aliases:"notification" group:"Operators' commands" help:"Who is told of alerts: list, inspect, test, reinject."`
	Console       cli.Console       `cmd:"" group:"Operators' commands" help:"What is shared with CrowdSec's console: enable, disable, status."`
	CAPI          cli.CAPI          `cmd:"" name:"capi" group:"Operators' commands" help:"CrowdSec's central API: status."`
	Setup         cli.Setup         `cmd:"" group:"Operators' commands" help:"Find the services of this host and read their logs: interactive, unattended, detect."`
	Support       cli.Support       `cmd:"" group:"Operators' commands" help:"For those who help: dump."`
	Dashboard     cli.Dashboard     `cmd:"" hidden:"" help:"Removed."`
	Doc           cli.Doc           `cmd:"" hidden:"" help:"Write a page about each command."`
	PAPI          cli.PAPI          `cmd:"" name:"papi" hidden:"" group:"Operators' commands" help:"Orders from CrowdSec's console."`
}

// lapiDesk are those of them below "lapi".
type lapiDesk struct {
	Context cli.LAPIContext `cmd:"" help:"What alerts tell beside: add, status, detect."`
}
