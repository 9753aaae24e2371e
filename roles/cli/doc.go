//go:build !edge

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cs/platform"
)

// Dashboard is a command that upstream has taken away; scripts may still call it.
type Dashboard struct {
	Words []string `arg:"" optional:"" hidden:""`
}

// Run refuses.
func (c *Dashboard) Run(context.Context, *platform.Env, *Globals) error {
	return globalError{errors.New("command 'dashboard' has been removed, please read https://docs.crowdsec.net/blog/cscli_dashboard_deprecation/")}
}

// Doc writes a page of Markdown about each command.
type Doc struct {
	Target string `default:"doc/" placeholder:"DIR" help:"Where the pages go; it must be there."`
}

// Run writes them.
func (c *Doc) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if err := c.write(ctx, env, g, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "Documentation generated in %s\n", c.Target)
	return err
}

// write writes the page about a command and those about the commands below it.
func (c *Doc) write(ctx context.Context, env *platform.Env, g *Globals, words []string) error {
	ask := func(args ...string) string {
		var out bytes.Buffer
		sub := *env
		sub.Stdout, sub.Stderr = &out, new(bytes.Buffer)
		g.Execute(ctx, args, &sub)
		return out.String()
	}
	name := strings.Join(append([]string{env.Program}, words...), " ")
	page := "## " + name + "\n\n```\n" + ask(append(words[:len(words):len(words)], "--help")...) + "```\n"
	below := ask(append(append([]string{"__complete"}, words...), "")...)
	var children []string
	for line := range strings.Lines(below) {
		if word, help, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			children = append(children, word)
			page += fmt.Sprintf("\n* [%s %s](%s_%[2]s.md) - %[4]s", name, word, strings.ReplaceAll(name, " ", "_"), help)
		}
	}
	err := os.WriteFile(filepath.Join(c.Target, strings.ReplaceAll(name, " ", "_")+".md"), []byte(strings.TrimSuffix(page, "\n")+"\n"), 0o644)
	for i := 0; i < len(children) && err == nil; i++ {
		err = c.write(ctx, env, g, append(words[:len(words):len(words)], children[i]))
	}
	return err
}
