//go:build !edge

package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// What stands between kong and the command line that operators know. The edge
// build reads it with cs/platform/flagset, which needs none of this.

// An invalidArgument is a flag's value that can't be read.
type invalidArgument struct {
	flag  *kong.Flag
	value string
	cause error
}

func (e *invalidArgument) Error() string {
	name := "--" + e.flag.Name
	if e.flag.Short != 0 {
		name = "-" + string(e.flag.Short) + ", " + name
	}
	return fmt.Sprintf("invalid argument %q for %q flag: %v", e.value, name, e.cause)
}

func (e *invalidArgument) Unwrap() error { return e.cause }

// Decode implements kong.MapperValue.
func (d *duration) Decode(ctx *kong.DecodeContext) error { return decode(ctx, d.UnmarshalText) }

// Decode implements kong.MapperValue.
func (n *number) Decode(ctx *kong.DecodeContext) error { return decode(ctx, n.UnmarshalText) }

// decode takes the next word of the command line as the value of a flag. kong
// would do it too, but with its own words for a value that can't be read.
func decode(ctx *kong.DecodeContext, read func([]byte) error) error {
	token, err := ctx.Scan.PopValue(ctx.Value.Name)
	if err != nil {
		return err
	}
	text := token.String()
	if err := read([]byte(text)); err != nil {
		if ctx.Value.Flag == nil {
			return err
		}
		return &invalidArgument{ctx.Value.Flag, text, err}
	}
	return nil
}

// CommandPath returns the words of the command that kong has recognised so
// far, by their first names: "decisions add" for "decision add -i 1.2.3.4".
func CommandPath(c *kong.Context) string {
	var words []string
	for _, p := range c.Path {
		if p.Command != nil {
			words = append(words, p.Command.Name)
		}
	}
	return strings.Join(words, " ")
}

// UsageError returns the message for a command line that kong has refused,
// in the words of the cobra library where scripts match on them. path is the
// program and the recognised command: "cscli decisions".
func UsageError(err error, path string) string {
	var bad *invalidArgument
	if errors.As(err, &bad) {
		return bad.Error()
	}
	var refused *kong.ParseError
	if !errors.As(err, &refused) {
		return err.Error()
	}
	text := err.Error()
	if s, ok := strings.CutPrefix(text, "unknown flag "); ok {
		flag, _, _ := strings.Cut(s, ",") // kong's guess follows
		if strings.HasPrefix(flag, "--") {
			return "unknown flag: " + flag
		}
		return fmt.Sprintf("unknown shorthand flag: '%s' in %s", strings.TrimPrefix(flag, "-"), flag)
	}
	if flag, ok := strings.CutSuffix(text, ` value but got "EOL" (<EOL>)`); ok {
		flag, _, _ = strings.Cut(flag, ":")
		return "flag needs an argument: " + flag
	}
	if s, ok := strings.CutPrefix(text, "missing flags: "); ok {
		return "required flag(s) " + quoteFlags(s) + " not set"
	}
	node := refused.Context.Selected()
	if node == nil {
		node = refused.Context.Model.Node
	}
	words := arguments(refused.Context)
	switch {
	case strings.HasPrefix(text, "unexpected argument ") && len(words) == 0: // a flag behind "--"
		return text
	case strings.HasPrefix(text, "unexpected argument ") && len(node.Children) > 0:
		return fmt.Sprintf("unknown command %q for %q%s", words[0], path, suggestion(text))
	case strings.HasPrefix(text, "unexpected argument "):
		return fmt.Sprintf("accepts %d arg(s), received %d", len(node.Positional), len(words))
	case len(node.Positional) > 0 && (strings.HasPrefix(text, "expected ") || strings.HasPrefix(text, "missing positional ")):
		if node.Positional[len(node.Positional)-1].IsCumulative() {
			return fmt.Sprintf("requires at least %d arg(s), only received %d", len(node.Positional), len(words))
		}
		return fmt.Sprintf("accepts %d arg(s), received %d", len(node.Positional), len(words))
	}
	return text
}

// quoteFlags turns kong's list `--key=STRING, --value=V or --auto` into the
// quoted names of the flags.
func quoteFlags(list string) string {
	var names []string
	for _, word := range strings.Fields(list) {
		if name, ok := strings.CutPrefix(strings.Trim(word, ","), "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			names = append(names, `"`+name+`"`)
		}
	}
	return strings.Join(names, ", ")
}

// suggestion returns kong's guess at what was meant, as cobra words it.
func suggestion(text string) string {
	_, guess, ok := strings.Cut(text, ", did you mean ")
	if !ok {
		return ""
	}
	guess = strings.TrimSuffix(strings.TrimPrefix(guess, "one of "), "?")
	return "\n\nDid you mean this?\n  " + strings.ReplaceAll(strings.ReplaceAll(guess, `"`, ""), ", ", "\n  ")
}

// arguments returns the positional words of the selected command, those that
// kong did not take included.
func arguments(c *kong.Context) []string {
	var rest []string
	flags := map[string]bool{} // name -> takes a value
	for _, p := range c.Path {
		for _, f := range p.Flags {
			flags["--"+f.Name] = !f.IsBool()
			if f.Short != 0 {
				flags["-"+string(f.Short)] = !f.IsBool()
			}
		}
		if p.Command != nil || p.App != nil {
			rest = p.Remainder()
		}
	}
	var words []string
	for i := 0; i < len(rest); i++ {
		switch w := rest[i]; {
		case w == "--":
			return append(words, rest[i+1:]...)
		case w == "-" || !strings.HasPrefix(w, "-"):
			words = append(words, w)
		case flags[w]:
			i++
		}
	}
	return words
}
