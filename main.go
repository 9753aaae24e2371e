// Command cs protects hosts by reading logs and blocking attackers. It is all
// roles of the suite in one binary; see README.md.
//
// A role that rests does little; that the runtime looks each second how many
// processors there are would be half of it.
//
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cs/platform"
	_ "cs/platform/prefault"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ending := context.AfterFunc(ctx, func() { _ = platform.Notify("STOPPING=1") }) // nobody to tell is fine
	code := execute(ctx, os.Args[1:], &platform.Env{
		Program:   platform.ProgramName(os.Args[0]),
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
		Version:   version,
	})
	ending()
	stop()
	os.Exit(code)
}
