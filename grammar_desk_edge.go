//go:build edge && !bouncer_only

package main

// desk are the commands that a router doesn't need.
type desk struct{}

// lapiDesk are those of them below "lapi".
type lapiDesk struct{}
