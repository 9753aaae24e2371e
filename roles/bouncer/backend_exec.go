//go:build !bouncer_only

package bouncer

import (
	"cs/platform"
	"cs/remediate"
	"cs/remediate/exec"
	"cs/remediate/export"
	"cs/roles/config"
)

func init() {
	register(backend{name: "exec", kernel: func(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		return exec.New(exec.Config{Program: b.Exec.Program, Args: b.Exec.Args, Timeout: b.Exec.Timeout})
	}})
	register(backend{name: "file", kernel: func(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		return export.New(export.Config{
			Path: b.File.Path, Format: b.File.Format, Set4: b.File.Set4, Set6: b.File.Set6, Command: b.File.Command, Every: b.File.Every,
		})
	}})
}
