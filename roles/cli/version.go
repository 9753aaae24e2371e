package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/engine"
)

// Version prints what this program is and which content it understands. It
// needs no configuration.
type Version struct{}

// Run prints.
func (c *Version) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	_, err := fmt.Fprint(env.Stdout, versionText(env.Version))
	return err
}

// versionText has the lines that scripts pick by their first word.
func versionText(version string) string {
	var b strings.Builder
	line := func(name, value string) { b.WriteString(strings.TrimRight(name+": "+value, " ") + "\n") }
	line("version", version)
	line("Codename", "cs")
	line("BuildDate", vcsTime())
	line("GoVersion", strings.TrimPrefix(runtime.Version(), "go"))
	line("Platform", runtime.GOOS)
	line("libre2", "none") // expressions are matched by our own engine
	line("User-Agent", api.UserAgent(version))
	line("Constraint_parser", ">= 1.0, <= 3.0")
	line("Constraint_scenario", ">= 1.0, <= 3.0")
	line("Constraint_api", "v1")
	line("Constraint_acquis", ">= 1.0, < 2.0")
	built := optional
	for _, name := range engine.Sources() {
		built = append(built[:len(built):len(built)], "datasource_"+name)
	}
	line("Built-in optional components", strings.Join(built, ", "))
	return b.String()
}

// vcsTime is the time of the commit we were built from; builds are
// reproducible, so they don't know their own time.
func vcsTime() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				return s.Value
			}
		}
	}
	return ""
}
