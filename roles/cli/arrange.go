//go:build !edge

package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Arrange puts a command line into the order that kong needs: the words of
// the command, then flags, then arguments. The command line that scripts have
// been written for takes flags anywhere, also between two arguments, "=" after
// a short flag ("-d=4h"), and values that begin with "-" ("-p -secret").
func Arrange(app *kong.Application, args []string) []string {
	var commands, flags, end, words []string
	known := map[string]*kong.Flag{}
	learn := func(n *kong.Node) {
		for _, f := range n.Flags {
			known["--"+f.Name] = f
			for _, a := range f.Aliases {
				known["--"+a] = f
			}
			if f.Short != 0 {
				known["-"+string(f.Short)] = f
			}
		}
	}
	node := app.Node
	learn(node)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			end = []string{arg} // before all arguments: kong takes no list on both sides of it
			words = append(words, args[i+1:]...)
			i = len(args)
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			if len(node.Children) == 0 {
				words = append(words, arg)
				continue
			}
			child := childOf(node, arg)
			if child == nil {
				return args // an unknown command: the first thing to complain of
			}
			commands = append(commands, arg)
			node = child
			learn(node)
		default:
			name, value, hasValue := splitFlag(arg)
			f := known[name]
			switch {
			case f != nil && hasValue && !strings.HasPrefix(arg, "--"):
				arg = "--" + f.Name + "=" + value
			case f != nil && !hasValue && !f.IsBool() && i+1 == len(args):
				words = append(words, arg) // an argument is no value for it
				continue
			case f != nil && !hasValue && !f.IsBool():
				i++
				if next := args[i]; strings.HasPrefix(next, "-") && next != "-" {
					arg = "--" + f.Name + "=" + next // a value all the same
				} else {
					flags = append(flags, arg)
					arg = next
				}
			}
			flags = append(flags, arg)
		}
	}
	return slices.Concat(commands, flags, end, words)
}

// splitFlag returns the name of a flag and what is joined to it by "=".
func splitFlag(arg string) (name, value string, hasValue bool) {
	name, value, hasValue = strings.Cut(arg, "=")
	if !strings.HasPrefix(name, "--") && len(name) > 2 {
		return "", "", false // "-xyz": flags in one word, or a value joined to its flag
	}
	return name, value, hasValue
}

func childOf(n *kong.Node, word string) *kong.Node {
	for _, c := range n.Children {
		if c.Type != kong.CommandNode {
			continue
		}
		if c.Name == word {
			return c
		}
		for _, a := range c.Aliases {
			if a == word {
				return c
			}
		}
	}
	return nil
}
