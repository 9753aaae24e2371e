package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
	"cs/roles/api"
)

// Completion prints a script that lets a shell complete our commands. The
// scripts ask us, by the hidden command __complete, in the form of the cobra
// library: a candidate a line, and what to do about files.
type Completion struct {
	Bash       CompletionBash       `cmd:"" help:"For bash: source <(cs completion bash)."`
	Zsh        CompletionZsh        `cmd:"" help:"For zsh: source <(cs completion zsh)."`
	Fish       CompletionFish       `cmd:"" help:"For fish: cs completion fish | source."`
	Powershell CompletionPowershell `cmd:"" help:"For PowerShell: cs completion powershell | Out-String | Invoke-Expression."`
}

// The shells.
type (
	CompletionBash       struct{}
	CompletionZsh        struct{}
	CompletionFish       struct{}
	CompletionPowershell struct{}
)

// Run prints the script.
func (c *CompletionBash) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return completion(env, bashScript)
}

// Run prints the script.
func (c *CompletionZsh) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return completion(env, zshScript)
}

// Run prints the script.
func (c *CompletionFish) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return completion(env, fishScript)
}

// Run prints the script.
func (c *CompletionPowershell) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return completion(env, powershellScript)
}

func completion(env *platform.Env, script string) error {
	_, err := fmt.Fprint(env.Stdout, strings.NewReplacer("PROGRAM", env.Program, "FUNC", "__"+strings.ReplaceAll(env.Program, "-", "_")).Replace(script))
	return err
}

const bashScript = `# bash completion for PROGRAM
FUNC_complete()
{
    local line words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :4) compopt +o default 2>/dev/null ;;
            :*) ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
}
complete -o default -F FUNC_complete PROGRAM
`

const zshScript = `#compdef PROGRAM
compdef FUNC_complete PROGRAM
FUNC_complete()
{
    local line directive=0
    local -a found
    while IFS= read -r line; do
        case $line in
            :*) directive=${line#:} ;;
            *$'\t'*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            *) found+=("${line//:/\\:}") ;;
        esac
    done < <(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#found} )); then
        _describe PROGRAM found
    elif [[ $directive != 4 ]]; then
        _files
    fi
}
if [ "$funcstack[1]" = "FUNC_complete" ]; then
    FUNC_complete
fi
`

const fishScript = `# fish completion for PROGRAM
function FUNC_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    $words[1] __complete $words[2..-1] "$last" 2>/dev/null | string match -v ':*'
end
complete -c PROGRAM -e
complete -c PROGRAM -f -a '(FUNC_complete)'
`

const powershellScript = `# PowerShell completion for PROGRAM
Register-ArgumentCompleter -Native -CommandName 'PROGRAM' -ScriptBlock {
    param($last, $ast, $cursor)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -lt $cursor -or $_.ToString() -ne $last } | ForEach-Object { $_.ToString() })
    & 'PROGRAM' __complete @words "$last" 2>$null | Where-Object { $_ -and $_[0] -ne ':' } | ForEach-Object {
        $word, $help = $_ -split "` + "`t" + `", 2
        if (-not $help) { $help = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $help)
    }
}
`

// HasArguments tells whether the words of a command ("bouncers delete") are
// followed by names that Arguments knows, and not by files.
func HasArguments(path string) bool {
	group, verb, _ := strings.Cut(path, " ")
	return slices.Contains(strings.Fields(argumentsOf[group]), verb)
}

// argumentsOf are the commands that are followed by names.
var argumentsOf = map[string]string{
	"metrics": "show", "console": "enable disable", "bouncers": "delete inspect", "machines": "delete inspect validate",
	"allowlists": "inspect add import remove delete", "simulation": "enable disable", "notifications": "inspect test",
	"parsers": itemVerbs, "postoverflows": itemVerbs, "scenarios": itemVerbs, "contexts": itemVerbs,
	"appsec-configs": itemVerbs, "appsec-rules": itemVerbs, "collections": itemVerbs,
}

const itemVerbs = "install remove upgrade inspect"

// Arguments returns the names that may follow the words of a command. It says
// nothing of what goes wrong: somebody is typing.
func Arguments(ctx context.Context, env *platform.Env, g *Globals, path string) []string {
	if !HasArguments(path) {
		return nil
	}
	quiet := *env
	quiet.Stdout, quiet.Stderr = discard{}, discard{}
	group, verb, _ := strings.Cut(path, " ")
	switch group {
	case "metrics":
		names := sortedKeys(groups)
		for _, w := range sections {
			if groups[w.name] == nil { // "lapi" is both
				names = append(names, w.name)
			}
		}
		return names
	case "console":
		return completeConsole()
	}
	s, err := open(&quiet, g)
	if err != nil {
		return nil
	}
	switch group {
	case "bouncers":
		return s.names(ctx, func(a *api.Admin) (names []string, err error) {
			list, err := a.Bouncers(ctx)
			for _, b := range list {
				names = append(names, b.Name)
			}
			return names, err
		})
	case "machines":
		return s.names(ctx, func(a *api.Admin) (names []string, err error) {
			list, err := a.Machines(ctx)
			for _, m := range list {
				names = append(names, m.Name)
			}
			return names, err
		})
	case "allowlists":
		l, err := s.lapi(ctx)
		if err != nil {
			return nil
		}
		defer l.done(&err)
		list, err := l.Allowlists(ctx)
		var names []string
		for _, a := range list {
			names = append(names, a.Name)
		}
		return names
	case "simulation":
		return itemNames(&quiet, g, catalog.Scenarios, verb)
	case "notifications":
		n, err := g.Notifier(&quiet, s.file)
		if err != nil {
			return nil
		}
		var names []string
		for _, l := range n.List() {
			names = append(names, l.Name)
		}
		return names
	}
	return itemNames(&quiet, g, catalog.Type(group), verb)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (s *session) names(ctx context.Context, of func(*api.Admin) ([]string, error)) (names []string) {
	_ = s.admin(ctx, mustExist, func(a *api.Admin) (err error) { // somebody is typing
		names, err = of(a)
		return err
	})
	return names
}

// itemNames returns the names of the items that can be installed, or else of
// those that are.
func itemNames(env *platform.Env, g *Globals, t catalog.Type, verb string) (names []string) {
	_, cat, err := openCatalog(env, g)
	if err != nil {
		return nil
	}
	items := cat.Installed(t)
	if verb == "install" {
		items = cat.Items(t)
	}
	for _, it := range items {
		names = append(names, it.Name)
	}
	return names
}
