//go:build edge && !bouncer_only

package main

import "cs/platform"

// fullCommands are those that a router has no use for.
type fullCommands struct{}

// mistake returns what is wrong with a command line as flagset says it: kong
// would make this build larger by a tenth.
func mistake(_ []string, _ *platform.Env, err error) error { return err }
